import { expect, test } from "vitest";
import { formatBytes, formatShare } from "./format";
import { keep, load, whyNot } from "./pictures";

const file = (size: number, type: string) => new File([new Uint8Array(size)], "shoe.png", { type });

test("a picture up to the limit is taken, one byte more is not, and the limit is named", () => {
  expect(whyNot(file(5_000_000, "image/png"), 5_000_000)).toBeNull();
  expect(whyNot(file(5_100_000, "image/png"), 5_000_000)).toMatch(
    /“shoe.png” is 5.1 MB; the limit for pictures is 5 MB/,
  );
});

test("what is no picture, and what is empty, is not sent", () => {
  expect(whyNot(file(10, "text/plain"), 1000)).toMatch(/not a picture \(text\/plain\)/);
  expect(whyNot(file(0, "image/png"), 1000)).toMatch(/empty/);
});

test("exactly the types that the service takes are sent", () => {
  const types = ["image/png", "image/jpeg", "image/heic"];
  expect(whyNot(file(10, "image/png"), 1000, types)).toBeNull();
  expect(whyNot(file(10, "image/heif"), 1000, types)).toBeNull();
  expect(whyNot(file(10, "image/svg+xml"), 1000, types)).toMatch(/\(image\/svg\+xml\); take one of PNG, JPEG, HEIC/);
});

test("without a known limit the service decides", () => {
  expect(whyNot(file(9_000_000, "image/png"), undefined)).toBeNull();
});

test("a kept picture is found by its name; an unknown name is said to be gone", async () => {
  const name = await keep(new Blob(["12345"], { type: "image/png" }));
  expect(name).toMatch(/^upload:[a-z0-9-]+$/);
  expect((await load(name)).size).toBe(5);
  await expect(load("upload:never-kept")).rejects.toMatchObject({ kind: "picture_gone" });
});

test("sizes and shares as people write them", () => {
  expect([formatBytes(999), formatBytes(1500), formatBytes(5_000_000), formatBytes(5_242_880)]).toEqual([
    "999 bytes",
    "1.5 kB",
    "5 MB",
    "5.2 MB",
  ]);
  expect([formatShare(0), formatShare(0.001), formatShare(0.824)]).toEqual(["0 %", "<1 %", "82 %"]);
});
