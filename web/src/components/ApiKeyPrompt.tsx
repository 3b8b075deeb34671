import { useId, useState } from "react";
import { apiKey } from "../lib/apiKey";

/** Asks for the key that the service wants for writes, then does again what was refused. */
export function ApiKeyPrompt({ onSaved }: { onSaved: () => void }) {
  const [key, setKey] = useState("");
  const id = useId();
  return (
    <form
      className="mt-2 flex flex-wrap items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        apiKey.set(key.trim());
        onSaved();
      }}
    >
      <label htmlFor={id} className="text-sm">
        API key for feedback, kept for this tab
        <input
          id={id}
          type="password"
          autoComplete="off"
          className="field mt-1 block w-56"
          value={key}
          onChange={(e) => setKey(e.target.value)}
          required
        />
      </label>
      <button type="submit" className="button">
        Use it
      </button>
    </form>
  );
}
