/** The documentation's site in a browser: DOCS_SITE is its folder, DOCS_PAGES the pages, all of them if it is not set. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, relative } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { check, WCAG_AA } from "./axe";
import { launch } from "./service";

const SITE = process.env.DOCS_SITE ?? join(import.meta.dirname, "../../site");
const SHOTS = process.env.E2E_SHOTS || join(tmpdir(), "sqidflow-docs-shots");
const TYPES: Record<string, string> = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript" };

function allPages(folder = SITE): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return allPages(path);
    return name.endsWith(".html") && name !== "404.html" ? [relative(SITE, path)] : [];
  });
}

const pages = process.env.DOCS_PAGES?.split(",") ?? allPages();
const looks = pages.flatMap((page) =>
  [360, 1440].flatMap((width) => (["light", "dark"] as const).map((theme) => [page, width, theme] as const)),
);

let host: Server;
let browser: Browser;
let address: string;

beforeAll(async () => {
  host = createServer((request, response) => {
    try {
      const path = decodeURIComponent(new URL(request.url ?? "/", "http://site").pathname);
      response.setHeader("Content-Type", TYPES[extname(path)] ?? "application/octet-stream");
      response.end(readFileSync(join(SITE, path)));
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((ready) => host.listen(0, "127.0.0.1", ready));
  address = `http://127.0.0.1:${(host.address() as AddressInfo).port}`;
  browser = await launch();
});

afterAll(async () => {
  await browser?.close();
  host?.close();
});

test.each(looks)(
  "%s at %i px, %s: nothing sticks out, nothing for axe, no request to another server",
  async (name, width, theme) => {
    const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: theme });
    const page = await context.newPage();
    const strangers: string[] = [];
    page.on("request", (request) => {
      if (!request.url().startsWith(address) && !/^(data|blob):/.test(request.url())) strangers.push(request.url());
    });
    await page.goto(`${address}/${name}`, { waitUntil: "networkidle" });
    expect(await page.locator("h1").first().isVisible()).toBe(true);
    const scheme = await page.evaluate(() => document.body.getAttribute("data-md-color-scheme"));
    expect(scheme).toBe(theme === "dark" ? "slate" : "default");
    await page.screenshot({ path: join(SHOTS, `${name.replaceAll("/", "-")}-${width}-${theme}.png`) });
    expect(await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)).toBeLessThanOrEqual(0);
    // The side bar scrolls to the page's own entry, and may leave half of a link under its title.
    await page.evaluate(() => {
      for (const bar of document.querySelectorAll(".md-sidebar__scrollwrap")) bar.scrollTop = 0;
    });
    const { violations } = await check(page, WCAG_AA);
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    expect(serious.map(({ text }) => text)).toEqual([]);
    expect(strangers).toEqual([]);
    await context.close();
  },
);
