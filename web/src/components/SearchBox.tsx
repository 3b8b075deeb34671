import { type FormEvent, useCallback, useEffect, useId, useRef, useState } from "react";
import { useFacets } from "../api/queries";
import { isTaken } from "../lib/keys";
import { isUpload, keep, load, whyNot } from "../lib/pictures";
import type { SearchState } from "../lib/searchState";
import { Picture } from "./Picture";

interface Props {
  state: SearchState;
  onSearch: (asked: { query: string; picture: string | null }) => void;
  label: string;
}

/** The query: words and a picture, by typing, file, drop or paste. */
export function SearchBox({ state, onSearch, label }: Props) {
  const [text, setText] = useState(state.query);
  const [refusal, setRefusal] = useState<string | null>(null);
  const [dragging, setDragging] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const file = useRef<HTMLInputElement>(null);
  const id = useId();
  const facets = useFacets().data;
  const maxBytes = facets?.max_image_bytes;
  const types = facets?.picture_types;

  useEffect(() => setText(state.query), [state.query]);

  const take = useCallback(
    async (picture: File | null | undefined) => {
      if (!picture) return;
      const reason = whyNot(picture, maxBytes, types);
      setRefusal(reason);
      if (reason === null) onSearch({ query: input.current?.value ?? "", picture: await keep(picture) });
    },
    [maxBytes, types, onSearch],
  );

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "/" || isTaken(event)) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    const onPaste = (event: ClipboardEvent) => {
      const pasted = [...(event.clipboardData?.files ?? [])].find((item) => item.type.startsWith("image/"));
      if (!pasted) return;
      event.preventDefault();
      void take(pasted);
    };
    const hasFile = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const onDragOver = (event: DragEvent) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      setDragging(true);
    };
    const onDragLeave = (event: DragEvent) => {
      if (event.relatedTarget === null) setDragging(false);
    };
    const onDrop = (event: DragEvent) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      setDragging(false);
      void take(event.dataTransfer?.files[0]);
    };
    window.addEventListener("keydown", onKey);
    window.addEventListener("paste", onPaste);
    window.addEventListener("dragover", onDragOver);
    window.addEventListener("dragleave", onDragLeave);
    window.addEventListener("drop", onDrop);
    return () => {
      window.removeEventListener("keydown", onKey);
      window.removeEventListener("paste", onPaste);
      window.removeEventListener("dragover", onDragOver);
      window.removeEventListener("dragleave", onDragLeave);
      window.removeEventListener("drop", onDrop);
    };
  }, [take]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    setRefusal(null);
    onSearch({ query: text, picture: state.picture });
  };

  return (
    <form role="search" onSubmit={submit} aria-label={label}>
      <div className="flex flex-wrap gap-2">
        <div className="flex min-w-0 flex-[1_1_16rem] items-center gap-2 rounded-lg border border-edge bg-surface pr-2 pl-1.5 focus-within:border-accent focus-within:outline-1 focus-within:outline-accent">
          {state.picture && (
            <span className="flex items-center gap-1 rounded-md bg-accent-soft py-0.5 pr-1 pl-0.5">
              <QueryPicture reference={state.picture} />
              <button
                type="button"
                className="button button-quiet min-h-6 min-w-6 rounded-sm px-1 text-sm"
                aria-label="Remove the picture"
                title="Remove the picture"
                onClick={() => onSearch({ query: text, picture: null })}
              >
                ×
              </button>
            </span>
          )}
          <label htmlFor={id} className="sr-only">
            Search by words
          </label>
          <input
            id={id}
            ref={input}
            value={text}
            onChange={(event) => setText(event.target.value)}
            type="text"
            dir="auto"
            enterKeyHint="search"
            autoComplete="off"
            spellCheck={false}
            maxLength={1000}
            placeholder={state.picture ? "Add words to the picture" : "Words, a picture, or both"}
            className="h-10 min-w-0 flex-1 bg-transparent px-1 text-base outline-none"
          />
          <kbd className="kbd max-sm:hidden" aria-hidden>
            /
          </kbd>
        </div>
        <input
          ref={file}
          type="file"
          accept={types?.join(",") ?? "image/*"}
          className="sr-only"
          tabIndex={-1}
          aria-label="Picture file"
          onChange={(event) => {
            void take(event.target.files?.[0]);
            event.target.value = "";
          }}
        />
        <button type="button" className="button min-h-10 max-sm:flex-1" onClick={() => file.current?.click()}>
          <svg
            viewBox="0 0 16 16"
            width="16"
            height="16"
            fill="none"
            stroke="currentColor"
            strokeWidth="1.3"
            aria-hidden
          >
            <rect x="1.5" y="3" width="13" height="10" rx="1.5" />
            <path d="m2 11 3.5-3.5 2.8 2.8 2-2 3.7 3.2" />
            <circle cx="10.8" cy="5.8" r=".9" />
          </svg>
          Picture
        </button>
        <button type="submit" className="button button-primary min-h-10 px-5 max-sm:flex-1">
          Search
        </button>
      </div>
      {refusal && (
        <p role="alert" className="mt-2 rounded-md bg-bad px-3 py-2 text-sm text-bad-ink">
          {refusal}
        </p>
      )}
      {dragging && (
        <div className="pointer-events-none fixed inset-3 z-20 flex items-center justify-center rounded-lg border-2 border-dashed border-accent bg-accent-soft/90 text-base font-medium text-accent">
          Drop the picture to search with it
        </div>
      )}
    </form>
  );
}

/** The query picture as a thumbnail. */
function QueryPicture({ reference }: { reference: string }) {
  const [kept, setKept] = useState<string | null>(null);
  useEffect(() => {
    if (!isUpload(reference)) return;
    let address: string | null = null;
    let gone = false;
    load(reference).then(
      (picture) => {
        if (gone) return;
        address = URL.createObjectURL(picture);
        setKept(address);
      },
      () => setKept(null), // the search reports the missing picture
    );
    return () => {
      gone = true;
      if (address) URL.revokeObjectURL(address);
    };
  }, [reference]);
  return <Picture src={isUpload(reference) ? kept : reference} alt="The query picture" className="size-8" eager />;
}
