/** Where the service is: on the page's own server, unless the page was built with VITE_API_ADDRESS. */
const configured = (import.meta.env.VITE_API_ADDRESS ?? "").replace(/\/+$/, "");

export const API_ADDRESS = configured || globalThis.location?.origin || "";

/** The address of a path on the service, for pictures and links: the path itself where that is the page's own server. */
export function onService(path: string): string {
  return `${configured}${path}`;
}
