import { useEffect } from "react";
import { useFeedback } from "../api/queries";

const told = new Set<string>();

/** Tells the service, once, that the page shows an answer; only such answers count in the experiment. */
export function useImpression(requestId: string, blind: boolean): void {
  const { mutate } = useFeedback();
  useEffect(() => {
    const key = `${requestId} ${blind}`;
    if (told.has(key)) return;
    told.add(key);
    mutate({ request_id: requestId, kind: "impression", blind });
  }, [mutate, requestId, blind]);
}
