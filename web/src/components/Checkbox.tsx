import { type ReactNode, useEffect, useState } from "react";

interface Props {
  checked: boolean;
  onChange: (checked: boolean) => void;
  className?: string;
  children: ReactNode;
}

/**
 * A checkbox whose state is kept in the address. It changes at once: the router draws the page of the new address
 * later, and until then a controlled checkbox would jump back.
 */
export function Checkbox({ checked, onChange, className = "", children }: Props) {
  const [shown, setShown] = useState(checked);
  useEffect(() => setShown(checked), [checked]);
  return (
    <label className={`flex min-h-6 items-center gap-2 ${className}`}>
      <input
        type="checkbox"
        checked={shown}
        onChange={(event) => {
          setShown(event.target.checked);
          onChange(event.target.checked);
        }}
      />
      {children}
    </label>
  );
}
