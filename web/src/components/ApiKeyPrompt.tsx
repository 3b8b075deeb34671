import { useId, useState } from "react";
import { apiKey, isSendable } from "../lib/apiKey";

/** Asks for the API key that the service requires for writes, then repeats the rejected request. */
export function ApiKeyPrompt({ onSaved }: { onSaved: () => void }) {
  const [key, setKey] = useState("");
  const [refused, setRefused] = useState(false);
  const id = useId();
  return (
    <form
      className="mt-2 flex flex-wrap items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        const typed = key.trim();
        setRefused(!isSendable(typed));
        if (!isSendable(typed)) return;
        apiKey.set(typed);
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
          aria-invalid={refused}
          aria-describedby={refused ? `${id}-refused` : undefined}
          required
        />
      </label>
      <button type="submit" className="button">
        Use key
      </button>
      {refused && (
        <p id={`${id}-refused`} role="alert" className="basis-full text-sm text-bad-ink">
          A key can only contain ASCII letters, digits and symbols. This one has other characters, perhaps typographic
          quotes. It was not sent.
        </p>
      )}
    </form>
  );
}
