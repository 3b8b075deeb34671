/** Query pictures: checked before they are sent, and kept in this browser for reload and the back button. */
import { createStore, del, get, keys, set } from "idb-keyval";
import { onService } from "../api/address";
import { ApiError } from "../api/client";
import { formatBytes } from "./format";

const KEPT = 20;
const PREFIX = "upload:";
const inMemory = new Map<string, Blob>();
let store: ReturnType<typeof createStore> | undefined;

function kept(): ReturnType<typeof createStore> {
  store ??= createStore("sqidflow", "pictures");
  return store;
}

/** Why a file cannot be a query picture, or null if it can. `maxBytes` and `types` are undefined until they are known. */
export function whyNot(
  file: Blob & { name?: string },
  maxBytes: number | undefined,
  types?: readonly string[],
): string | null {
  const name = file.name ? `“${file.name}”` : "This";
  if (!file.type.startsWith("image/")) return `${name} is not a picture${file.type ? ` (${file.type})` : ""}.`;
  // Some systems report HEIC files as image/heif.
  const type = file.type === "image/heif" ? "image/heic" : file.type === "image/jpg" ? "image/jpeg" : file.type;
  if (types !== undefined && !types.includes(type)) {
    const known = types.map((each) => each.replace("image/", "").toUpperCase());
    return `${name} is of a type that cannot be searched with (${file.type}); take one of ${known.join(", ")}.`;
  }
  if (file.size === 0) return `${name} is empty.`;
  if (maxBytes !== undefined && file.size > maxBytes) {
    return `${name} is ${formatBytes(file.size)}; the limit for pictures is ${formatBytes(maxBytes)}. It was not sent.`;
  }
  return null;
}

/** Stores a picture; returns its reference for the address. */
export async function keep(picture: Blob): Promise<string> {
  // randomUUID exists only in secure contexts; the id only needs to be unique in this browser.
  const id = `${PREFIX}${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  inMemory.set(id, picture);
  try {
    await set(id, picture, kept());
    const old = (await keys<string>(kept())).sort().slice(0, -KEPT);
    await Promise.all(old.map((name) => del(name, kept())));
  } catch {
    // Without IndexedDB (private windows of some browsers) the picture is kept as long as the page.
  }
  return id;
}

/** The picture of a reference in the address. Throws ApiError `picture_gone` if it is not available. */
export async function load(reference: string, signal?: AbortSignal): Promise<Blob> {
  if (reference.startsWith(PREFIX)) {
    const picture = inMemory.get(reference) ?? (await get<Blob>(reference, kept()).catch(() => undefined));
    if (!picture) {
      throw new ApiError("picture_gone", "The picture was added in another browser, or too long ago.");
    }
    return picture;
  }
  let response: Response;
  try {
    response = await fetch(onService(reference), signal ? { signal } : {});
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("unreachable", "No connection to the search service.");
  }
  if (response.status === 404) throw new ApiError("picture_gone", `There is no picture at ${reference}.`);
  if (!response.ok)
    throw new ApiError("broken", `The picture could not be read: the service answered ${response.status}.`);
  const picture = await response.blob();
  if (!picture.type.startsWith("image/")) throw new ApiError("picture_gone", `There is no picture at ${reference}.`);
  return picture;
}

export function isUpload(reference: string): boolean {
  return reference.startsWith(PREFIX);
}
