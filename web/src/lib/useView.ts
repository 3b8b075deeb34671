import { useEffect, useRef } from "react";
import { useLocation } from "react-router";
import { useFeedback } from "../api/queries";

/** The answer from which a product's page was opened; a link to the page carries it. */
export interface FromAnswer {
  requestId: string;
  position: number;
}

function fromAnswer(state: unknown): FromAnswer | null {
  const from = state as Partial<FromAnswer> | null;
  return typeof from?.requestId === "string" && typeof from.position === "number" ? (from as FromAnswer) : null;
}

/** Tells the service, once a visit of the page, that a product's page is shown. */
export function useView(productId: string, isShown: boolean): void {
  const { mutate } = useFeedback();
  const { key, state } = useLocation();
  const told = useRef("");
  useEffect(() => {
    const visit = `${key} ${productId}`;
    if (!isShown || told.current === visit) return;
    told.current = visit;
    const from = fromAnswer(state);
    mutate({ kind: "view", product_id: productId, request_id: from?.requestId, position: from?.position });
  }, [mutate, key, state, productId, isShown]);
}
