import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test, vi } from "vitest";
import type { Range } from "../lib/attributes";
import { RangeFilter } from "./RangeFilter";

function filter(value: Range, onChange: (value: Range) => void) {
  return (
    <RangeFilter title="Price" kind="number" value={value} span={{ least: "5", most: "90" }} onChange={onChange} />
  );
}

test("what is typed into one field stays when the other one's value comes back", async () => {
  const changed = vi.fn();
  const { rerender } = render(filter({ least: "", most: "" }, changed));
  const [from, to] = [screen.getByLabelText("Price from"), screen.getByLabelText("Price to")];
  await userEvent.type(from, "10");
  await userEvent.type(to, "20");
  expect(changed).toHaveBeenLastCalledWith({ least: "10", most: "" });
  // The answer to "from" comes while somebody types "to".
  rerender(filter({ least: "10", most: "" }, changed));
  expect(to).toHaveValue(20);
  await userEvent.keyboard("{Enter}");
  expect(changed).toHaveBeenLastCalledWith({ least: "10", most: "20" });

  rerender(filter({ least: "10", most: "20" }, changed));
  rerender(filter({ least: "", most: "" }, changed));
  expect(from).toHaveValue(null);
  expect(to).toHaveValue(null);
});
