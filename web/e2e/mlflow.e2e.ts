/** MLflow's page over a store that the pipeline has filled. What to open and what it must show is in E2E_MLFLOW, as JSON. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch } from "./service";

interface Visit {
  name: string;
  url: string;
  /** Texts that the page must show. */
  shows: string[];
  /** Unfolds the rows that have others below them, before `shows` is looked for. */
  unfold: boolean;
  screenshot: string;
}

const visits: Visit[] = JSON.parse(process.env.E2E_MLFLOW ?? "[]");
const SHOWN_MS = 60_000;

let browser: Browser;
let page: Page;

beforeAll(async () => {
  expect(visits.length, "E2E_MLFLOW names no page").toBeGreaterThan(0);
  browser = await launch();
  page = await browser.newPage({ viewport: { width: 1600, height: 1100 } });
  page.setDefaultTimeout(SHOWN_MS);
});
afterAll(() => browser?.close());

test.each(visits)("$name", async ({ url, shows, unfold, screenshot }) => {
  await page.goto(url);
  if (unfold) {
    // Buttons with a picture and no name fold a parent's children.
    const folded = page.locator("[role=row] button:not([aria-label])").filter({ hasNotText: /\S/ });
    await folded.first().waitFor();
    for (const button of await folded.all()) await button.click();
  }
  for (const text of shows)
    await expect
      .poll(() => page.locator("body").innerText(), { timeout: SHOWN_MS, message: `shows ${text}` })
      .toContain(text);
  await page
    .getByText(shows.at(-1) ?? "")
    .first()
    .scrollIntoViewIfNeeded();
  mkdirSync(dirname(screenshot), { recursive: true });
  await page.screenshot({ path: screenshot });
});
