import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test, vi } from "vitest";
import { Checkbox } from "./Checkbox";

test("changes at once, before the address has followed", async () => {
  const onChange = vi.fn();
  render(
    <Checkbox checked={false} onChange={onChange}>
      Named
    </Checkbox>,
  );
  await userEvent.click(screen.getByRole("checkbox", { name: "Named" }));
  expect(screen.getByRole("checkbox", { name: "Named" })).toBeChecked();
  expect(onChange).toHaveBeenCalledExactlyOnceWith(true);
});

test("follows an address that changes without it", () => {
  const drawn = (checked: boolean) => (
    <Checkbox checked={checked} onChange={() => undefined}>
      Named
    </Checkbox>
  );
  const { rerender } = render(drawn(true));
  rerender(drawn(false));
  expect(screen.getByRole("checkbox", { name: "Named" })).not.toBeChecked();
});
