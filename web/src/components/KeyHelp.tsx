import { useEffect, useRef, useState } from "react";
import { JUDGEMENTS } from "../lib/judgements";
import { keysAreOn, switchKeys } from "../lib/keySwitch";
import { isTaken } from "../lib/keys";
import { Checkbox } from "./Checkbox";

const KEYS: [string, string][] = [
  ["/", "go to the search box"],
  ["Enter", "search; open the focused product"],
  ["j  k", "in a list: next and previous product"],
  ["w", "explain the product's score"],
  ["m", "similar products"],
  [JUDGEMENTS.map((j) => j.key).join("  "), `judge the product: ${JUDGEMENTS.map((j) => j.word).join(", ")}`],
  ["a  t  b", "between the two lists of the compare page: vote for the left list, no difference, the right list"],
  ["?", "this list"],
];

export function KeyHelp() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [on, setOn] = useState(keysAreOn);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "?" || isTaken(event)) return;
      event.preventDefault();
      dialog.current?.showModal();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  return (
    <>
      <button
        type="button"
        className="button button-quiet"
        onClick={() => dialog.current?.showModal()}
        aria-label="Keys"
        title="Keys (?)"
      >
        <kbd className="kbd" aria-hidden>
          ?
        </kbd>
      </button>
      <dialog ref={dialog} aria-labelledby="keys-title" className="panel w-[min(30rem,92vw)] p-5 text-ink">
        <div className="mb-3 flex items-center justify-between">
          <h2 id="keys-title">Keys</h2>
          <form method="dialog">
            <button type="submit" className="button">
              Close
            </button>
          </form>
        </div>
        <Checkbox
          className="mb-3 text-sm"
          checked={on}
          onChange={(checked) => {
            switchKeys(checked);
            setOn(checked);
          }}
        >
          Single keys are shortcuts
        </Checkbox>
        <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-2 text-sm">
          {KEYS.map(([keys, does]) => (
            <div key={keys} className="contents">
              <dt className="flex gap-1">
                {keys.split("  ").map((key) => (
                  <kbd key={key} className="kbd">
                    {key}
                  </kbd>
                ))}
              </dt>
              <dd>{does}</dd>
            </div>
          ))}
        </dl>
      </dialog>
    </>
  );
}
