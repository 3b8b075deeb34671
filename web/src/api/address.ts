/** Where the service is: on the page's own server, unless the page was built with VITE_API_ADDRESS. */
const configured: string = import.meta.env.VITE_API_ADDRESS ?? "";

export const API_ADDRESS = (configured || globalThis.location?.origin || "").replace(/\/+$/, "");

/** The address of a path on the service, as answers name pictures. */
export function onService(path: string): string {
  return `${API_ADDRESS}${path}`;
}
