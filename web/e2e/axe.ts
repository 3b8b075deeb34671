/** What axe-core says of the page that is open. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const WCAG_AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

interface Report {
  passes: unknown[];
  violations: { id: string; impact: string; nodes: { html: string }[] }[];
}

export interface Checked {
  /** How many rules were applied and held. */
  passes: number;
  violations: { impact: string; text: string }[];
}

export async function check(page: Page, rules: string[]): Promise<Checked> {
  await page.evaluate(AXE);
  return page.evaluate(async (runOnly) => {
    const { axe } = window as unknown as { axe: { run: (options: object) => Promise<Report> } };
    const report = await axe.run({ runOnly });
    return {
      passes: report.passes.length,
      violations: report.violations.map(({ id, impact, nodes }) => ({
        impact,
        text: `${id}: ${nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`,
      })),
    };
  }, rules);
}
