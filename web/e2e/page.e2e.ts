import { mkdirSync, mkdtempSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page, Response } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Schemas } from "../src/api/client";
import { REPORT } from "../src/test/report";
import { check, WCAG_AA } from "./axe";
import { launch, Service } from "./service";

const SHOTS = process.env.E2E_SHOTS || join(tmpdir(), "sqidflow-web-shots");
/** The feature store is opened at its first look-up, which takes many seconds on a small machine. */
const STORE_MS = 90_000;

let service: Service;
let browser: Browser;
let page: Page;
let facets: Schemas["Facets"];
let query: string;
let complaints: string[];
let strangers: string[];

async function json<T>(path: string): Promise<T> {
  const answer = await fetch(service.url + path);
  expect(answer.status, path).toBe(200);
  return (await answer.json()) as T;
}

async function newPage(options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const opened = await context.newPage();
  opened.setDefaultTimeout(30_000);
  opened.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  opened.on("pageerror", (error) => complaints.push(error.message));
  opened.on("request", (request) => {
    if (!request.url().startsWith(`${service.url}/`) && !/^(blob|data):/.test(request.url()))
      strangers.push(request.url());
  });
  return opened;
}

const box = () => page.getByRole("textbox", { name: "Search by words" });
const results = () => page.getByRole("list", { name: "Results" }).locator("> li");
const titles = () => page.locator("ol[aria-label=Results] > li [data-title]").allTextContents();
/** Whether a response is to an event of User Behavior Insights with this action. */
const isEvent = (response: Response, action: string) =>
  response.url().endsWith("/v1/events") &&
  (response.request().postDataJSON() as Schemas["Events"]).events.some((event) => event.action_name === action);
/** Path and search of the address, as people read it. */
const address = () => {
  const url = new URL(page.url());
  return decodeURIComponent(url.pathname + url.search).replaceAll("+", " ");
};
async function shown(): Promise<void> {
  await results().first().waitFor();
  await page.waitForFunction(() => document.querySelector("[aria-busy=true]") === null);
}
async function openSearch(search = `?q=${encodeURIComponent(query)}`): Promise<void> {
  await page.goto(`${service.url}/${search}`);
  await shown();
}

beforeAll(async () => {
  mkdirSync(SHOTS, { recursive: true });
  service = await Service.start();
  browser = await launch();
  facets = await json<Schemas["Facets"]>("/v1/facets");
  query = facets.sample_queries[0] ?? "";
  expect(query).not.toBe("");
});
afterAll(async () => {
  await browser?.close();
  await service?.down();
});
beforeEach(async () => {
  await service.up(); // where a test that failed left it down
  complaints = [];
  strangers = [];
  page = await newPage();
});
afterEach(async () => {
  await page.context().close();
  expect(strangers, "requests that left the machine").toEqual([]);
});
/** For every test but those whose subject is a service in trouble, where the browser itself writes what failed. */
const quiet = () => expect(complaints, "what the console said").toEqual([]);

describe("search", () => {
  test("by words, as the API answers them", async () => {
    await page.goto(service.url);
    await box().fill(query);
    await box().press("Enter");
    await shown();
    expect(address()).toBe(`/?q=${query}`);
    const answered = await json<Schemas["SearchResponse"]>(`/v1/search_a?k=10&query=${encodeURIComponent(query)}`);
    expect(await titles()).toEqual(answered.results.map((one) => one.title));
    await expect.poll(() => page.title()).toBe(`${query} · sqidflow`);
    quiet();
  });

  test("by one of the sample's pictures, then with words too", async () => {
    await page.goto(service.url);
    await page.getByRole("link", { name: "Search with sample picture 1" }).click();
    await shown();
    expect(address()).toBe(`/?picture=${facets.sample_pictures[0]}`);
    const byPicture = await titles();
    await box().fill(query);
    await box().press("Enter");
    await expect.poll(address).toContain(`q=${query}`);
    await shown();
    await expect.poll(titles).not.toEqual(byPicture);
    quiet();
  });

  test("by a file, by drop and by paste; reload and back find the picture again", async () => {
    await page.goto(service.url);
    const bytes = Buffer.from(await (await fetch(service.url + facets.sample_pictures[1])).arrayBuffer());
    await page.getByLabel("Picture file").setInputFiles({ name: "mine.png", mimeType: "image/png", buffer: bytes });
    await shown();
    const found = await titles();
    expect(address()).toMatch(/^\/\?picture=upload:/);
    await page.reload();
    await shown();
    expect(await titles()).toEqual(found);

    for (const kind of ["drop", "paste"] as const) {
      await page.goto(service.url);
      await page.getByRole("heading", { name: "Example pictures" }).waitFor();
      await page.evaluate(
        ([how, encoded]) => {
          const data = new DataTransfer();
          const content = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
          data.items.add(new File([content], "mine.png", { type: "image/png" }));
          const event =
            how === "drop"
              ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
              : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        },
        [kind, bytes.toString("base64")] as const,
      );
      await shown();
      expect(await titles(), kind).toEqual(found);
    }
    quiet();
  });

  test("a picture that is too large is never sent, and the words stay", async () => {
    const sent: string[] = [];
    page.on("request", (request) => request.method() === "POST" && sent.push(request.url()));
    await page.goto(service.url);
    await page.getByRole("heading", { name: "Example pictures" }).waitFor();
    await box().fill("kept words");
    const file = join(mkdtempSync(join(tmpdir(), "sqidflow-web-")), "too-large.png");
    writeFileSync(file, Buffer.alloc(facets.max_image_bytes + 1));
    expect(statSync(file).size).toBe(facets.max_image_bytes + 1);
    await page.getByLabel("Picture file").setInputFiles(file);
    await page
      .getByRole("alert")
      .getByText(/the limit for pictures is .*\. It was not sent/)
      .waitFor();
    expect(await box().inputValue()).toBe("kept words");
    expect(sent).toEqual([]);
    quiet();
  });

  test("filters narrow it, and stand in the address", async () => {
    const all = await json<Schemas["SearchResponse"]>(
      `/v1/search_a?k=100&threshold=0&query=${encodeURIComponent(query)}`,
    );
    const color = all.results.find((one) => one.color && one.image)?.color ?? "";
    expect(color).not.toBe("");
    await openSearch(`?q=${encodeURIComponent(query)}&t=0`);
    const everyColor = page.getByRole("group", { name: "Colour" }).getByRole("button", { name: /^All/ });
    if (await everyColor.count()) await everyColor.click();
    await page
      .getByRole("group", { name: "Colour" })
      .getByRole("checkbox", { name: new RegExp(`^${color}`) })
      .click();
    await expect.poll(address).toContain(`color=${color}`);
    await shown();
    await expect.poll(async () => (await results().locator("p").first().allTextContents()).length).toBeGreaterThan(0);
    const colors = await results().evaluateAll((rows) => rows.map((row) => row.querySelector("p")?.textContent ?? ""));
    expect(colors.filter((text) => !text.toLowerCase().includes(color.toLowerCase()))).toEqual([]);

    await page.getByRole("checkbox", { name: "Only with a picture" }).click();
    await expect.poll(address).toContain("with_picture=1");
    await shown();
    expect(await page.getByRole("img", { name: "No picture" }).count()).toBe(0);

    await page.getByLabel("Maximum results").selectOption("20");
    await expect.poll(address).toContain("k=20");
    await shown();
    expect(await results().count()).toBeLessThanOrEqual(20);

    await page.getByRole("button", { name: "Clear filters" }).click();
    await expect.poll(address).toBe(`/?q=${query}&k=20`);
    quiet();
  });

  test("price and category by keyboard; the counts are those of a plain computation", async () => {
    await openSearch(`?q=${encodeURIComponent(query)}&t=0`);
    const category = page.getByRole("group", { name: "Category" });
    const first = category.getByRole("checkbox").first();
    await first.focus();
    await page.keyboard.press("Space");
    await expect.poll(address).toContain("filter=category:");
    await shown();
    // Half of the span that the page shows, so that some products are in it.
    const from = page.getByRole("spinbutton", { name: "Price from (EUR)" });
    const span = await Promise.all(
      [from, page.getByRole("spinbutton", { name: "Price to (EUR)" })].map((end) => end.getAttribute("placeholder")),
    );
    const [least = 0, most = 0] = span.map(Number);
    const range = `${Math.floor(least)}..${Math.ceil((least + most) / 2)}`;
    await from.focus();
    await page.keyboard.type(range.split("..")[0] ?? "");
    await page.keyboard.press("Tab");
    await page.keyboard.type(range.split("..")[1] ?? "");
    await page.keyboard.press("Enter");
    await expect.poll(address).toContain(`filter=price:${range}`);
    await shown();
    await page.getByLabel("Sort by").focus();
    await page.keyboard.press("ArrowDown");
    await expect.poll(address).toContain("sort=price:asc");
    await shown();
    await expect
      .poll(async () => (await results().locator("[title=Price]").allTextContents()).map(Number.parseFloat))
      .toEqual(
        (await page.evaluate(async (search) => {
          const params = new URLSearchParams(search);
          const asked = new URLSearchParams({
            query: params.get("q") ?? "",
            threshold: "0",
            k: "10",
            sort: "price:asc",
          });
          for (const filter of params.getAll("filter")) asked.append("filter", filter);
          const answer = await (await fetch(`/v1/search_a?${asked}`)).json();
          return answer.results.map((one: { attributes: { price: number } }) => one.attributes.price);
        }, new URL(page.url()).search)) as number[],
      );

    // What the page counts, against the same search without the filter on category, counted one by one.
    const whole: string[] = [];
    for (let offset: number | null = 0; offset !== null; ) {
      const answer: Schemas["SearchResponse"] = await json(
        `/v1/search_a?query=${encodeURIComponent(query)}&threshold=0&k=40&offset=${offset}&filter=price:${range}&sort=price:asc`,
      );
      whole.push(...answer.results.map((one) => String(one.attributes?.category)));
      offset = answer.next_offset ?? null;
    }
    const plain = new Map<string, number>();
    for (const value of whole) plain.set(value, (plain.get(value) ?? 0) + 1);
    const lines = await category.getByRole("listitem").allTextContents();
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) {
      const [, value = "", count = ""] = /^(.*?)(\d+)$/.exec(line) ?? [];
      expect(Number(count), line).toBe(plain.get(value));
    }
    quiet();
  });

  test("pages follow each other, and stand in the address", async () => {
    await openSearch(`?q=${encodeURIComponent(query)}&t=0`);
    const before = await titles();
    await page.getByRole("button", { name: "Next page" }).focus();
    await page.keyboard.press("Enter");
    await expect.poll(address).toContain("from=10");
    await shown();
    await expect.poll(async () => (await titles()).filter((title) => before.includes(title))).toEqual([]);
    await page.goBack();
    await expect.poll(titles).toEqual(before);
    quiet();
  });

  test("the lowest score is a cut", async () => {
    await openSearch(`?q=${encodeURIComponent(query)}&t=0`);
    const scores = (await page.locator("[title^='Expected ESCI gain']").allTextContents()).map(Number);
    const cut = Math.floor(((scores[0] ?? 0) + (scores.at(-1) ?? 0)) * 50) / 100;
    await page.getByLabel("Lowest score").fill(String(cut));
    await expect.poll(address).toContain(`t=${cut}`);
    await shown();
    expect(await results().count()).toBe(scores.filter((score) => score >= cut).length);
    quiet();
  });

  test("why takes the score apart; more like this shows neighbours", async () => {
    await openSearch();
    await results().first().getByRole("button", { name: "Why" }).click();
    const rows = results().first().getByRole("row");
    await rows.nth(1).waitFor();
    expect(await rows.count()).toBeGreaterThan(2);
    await page.screenshot({ path: join(SHOTS, "why-1440.png") });
    await results().first().getByRole("link", { name: "More like this" }).click();
    await page.getByRole("list", { name: "Similar products" }).getByRole("listitem").first().waitFor();
    expect(address()).toMatch(/^\/\?like=/);
    quiet();
  });

  test("what fits nothing says so and leads on", async () => {
    await page.goto(`${service.url}/?q=${encodeURIComponent(query)}&t=1`);
    await page.getByRole("heading", { name: "No results" }).waitFor();
    await page.getByRole("button", { name: "Search without filters" }).click();
    await shown();
    expect(address()).toBe(`/?q=${query}`);
    quiet();
  });

  test("a judgement is taken by the service", async () => {
    await openSearch();
    const accepted = page.waitForResponse((response) => isEvent(response, "judgement"));
    await results().nth(1).getByRole("button", { name: "exact", exact: true }).click();
    expect((await accepted).status()).toBe(202);
    await page.getByText("saved").waitFor();
    await page.reload();
    await shown();
    const kept = results().nth(1).getByRole("button", { name: "exact", exact: true });
    await expect.poll(() => kept.getAttribute("aria-pressed")).toBe("true");
    expect(await results().nth(0).locator("[aria-pressed=true]").count()).toBe(0);
    quiet();
  });
});

describe("a product", () => {
  test("opens from the results, is counted as a click, and back is where one was", async () => {
    await openSearch(`?q=${encodeURIComponent(query)}&k=20`);
    const before = await titles();
    const clicked = page.waitForResponse((response) => isEvent(response, "item_click"));
    await results().nth(2).locator("[data-title]").click();
    expect((await clicked).status()).toBe(202);
    await page.getByRole("heading", { level: 1, name: before[2] ?? "" }).waitFor();
    expect(address()).toMatch(/^\/p\//);
    await page.goBack();
    await shown();
    expect(address()).toBe(`/?q=${query}&k=20`);
    expect(await titles()).toEqual(before);
    quiet();
  });

  test("by its own address: details, judged queries, features, lineage, neighbours", async () => {
    const answered = await json<Schemas["SearchResponse"]>(`/v1/search_a?k=10&query=${encodeURIComponent(query)}`);
    const id = answered.results[0]?.product_id ?? "";
    const product = await json<Schemas["Product"]>(`/v1/product?id=${encodeURIComponent(id)}`);
    await page.goto(`${service.url}/p/${id}`);
    await page.getByRole("heading", { level: 1, name: product.title }).waitFor();
    await page
      .getByText(/numbers, norm/)
      .first()
      .waitFor({ timeout: STORE_MS });
    await page.getByText(product.versions.feature_contract, { exact: true }).waitFor();
    await page.getByRole("list", { name: "Similar products" }).getByRole("listitem").first().waitFor();
    for (const judged of product.judged_for.slice(0, 3))
      await page.getByRole("link", { name: judged.query, exact: true }).first().waitFor();
    quiet();
  });

  test("one that is not there says so", async () => {
    await page.goto(`${service.url}/p/NOSUCHPRODUCT`);
    await page.getByRole("alert").getByText("Not found").waitFor();
  });
});

describe("the compare page", () => {
  const wins = (report: Schemas["ExperimentReport"], variant: string) =>
    report.variants.find((one) => one.variant === variant)?.wins ?? 0;

  test("both answers side by side, as the API gives them; a vote changes the report by one", async () => {
    const before = await json<Schemas["ExperimentReport"]>("/v1/experiments/report");
    await page.goto(`${service.url}/compare?named=1&q=${encodeURIComponent(query)}`);
    for (const variant of ["a", "b"] as const) {
      const column = page.getByRole("region", { name: `Variant ${variant.toUpperCase()}` });
      await column.getByRole("listitem").first().waitFor();
      const answered = await json<Schemas["SearchResponse"]>(
        `/v1/search_${variant}?k=10&query=${encodeURIComponent(query)}`,
      );
      expect(await column.getByRole("link").allTextContents()).toEqual(answered.results.map((one) => one.title));
    }
    // Votes with the names shown are taken and not counted; another query is voted on blind.
    await page.getByRole("button", { name: /^B/ }).click();
    await page.getByText("Vote saved").waitFor();
    const named = await json<Schemas["ExperimentReport"]>("/v1/experiments/report");
    expect([named.not_counted - before.not_counted, wins(named, "b") - wins(before, "b")]).toEqual([1, 0]);
    await page.goto(`${service.url}/compare?q=${encodeURIComponent(facets.sample_queries[1] ?? "")}`);
    const left = page.getByRole("button", { name: /^Left/ });
    await left.click();
    const revealed = page.getByText(/Vote saved: left was [AB]/);
    await revealed.waitFor();
    const winner = /left was A/.test((await revealed.textContent()) ?? "") ? "a" : "b";
    expect(await page.evaluate(() => document.activeElement?.closest("[role=group]")?.getAttribute("aria-label"))).toBe(
      "Which is better",
    );
    const after = await json<Schemas["ExperimentReport"]>("/v1/experiments/report");
    expect([
      wins(after, "a") - wins(before, "a"),
      wins(after, "b") - wins(before, "b"),
      after.ties - before.ties,
    ]).toEqual(winner === "a" ? [1, 0, 0] : [0, 1, 0]);
    await page.getByText(after.verdict).waitFor();
    quiet();
  });

  test("interleaved: one list, and who brought what only where one asks for it", async () => {
    await page.goto(`${service.url}/compare?mode=interleaved&q=${encodeURIComponent(query)}`);
    await shown();
    const found = await titles();
    expect(await page.getByText(/^from variant [AB]$/).count()).toBe(0);
    const named = page.getByRole("checkbox", { name: /^Show variant names/ });
    await named.click();
    await expect.poll(() => named.isChecked()).toBe(true);
    await expect.poll(address).toContain("named=1");
    await page
      .getByText(/^from variant [AB]$/)
      .first()
      .waitFor();
    expect(await titles()).toEqual(found);
    expect(await page.getByText(/^from variant [AB]$/).count()).toBeGreaterThan(0);
    quiet();
  });
});

test("the models page has every training and what serves", async () => {
  const { runs } = await json<Schemas["RunsResponse"]>("/v1/runs");
  await page.goto(`${service.url}/models`);
  await page.getByRole("heading", { name: "Active models" }).waitFor();
  if (runs.length > 0) {
    await page.getByRole("row").nth(runs.length).waitFor();
    expect(await page.getByRole("row").count()).toBe(runs.length + 1);
  }
  quiet();
});

test("all the way by keyboard", async () => {
  await page.goto(service.url);
  await page.getByRole("heading", { name: "Example pictures" }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type(query);
  await page.keyboard.press("Enter");
  await shown();
  const listed = await titles();
  // The focus is at the results: neither the filters nor the pages' links are between.
  await expect.poll(() => page.evaluate(() => document.activeElement?.getAttribute("aria-label"))).toBe("Results");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe(listed[1]);
  const ring = await results()
    .nth(1)
    .evaluate((row) => getComputedStyle(row).outlineStyle);
  expect(ring, "the product has the ring of its title").toBe("solid");
  await page.keyboard.press("w");
  await results().nth(1).getByRole("row").nth(1).waitFor();
  await page.keyboard.press("1");
  await results().nth(1).getByText("saved").waitFor();
  expect(await page.evaluate(() => document.activeElement?.textContent), "a judgement keeps the focus").toBe(listed[1]);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: listed[1] ?? "" }).waitFor();
  await page.goBack();
  await shown();

  // Filters and pages by the Tab key alone.
  const walked: string[] = [];
  const tabTo = async (name: RegExp) => {
    for (let presses = 0; presses < 60; presses += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const element = document.activeElement as HTMLElement | null;
        return (
          element?.closest("label")?.textContent ?? element?.getAttribute("aria-label") ?? element?.textContent ?? ""
        );
      });
      walked.push(at.trim().slice(0, 80));
      if (name.test(at)) return;
    }
    throw new Error(`the Tab key does not reach ${name}`);
  };
  await page.reload(); // the Tab key begins at the top
  await shown();
  await tabTo(/^Skip to the results$/);
  expect(walked.length, "Tab stops to the link that skips to the results").toBeLessThanOrEqual(12);
  await page.keyboard.press("Enter");
  expect(await page.evaluate(() => document.activeElement?.getAttribute("aria-label"))).toBe("Results");
  await page.reload();
  await shown();
  await tabTo(/^Only with a picture$/);
  await page.keyboard.press("Space");
  await expect.poll(address).toContain("with_picture=1");
  await tabTo(/^Compare A and B$/);
  await page.keyboard.press("Enter");
  await page.getByRole("region", { name: "Left" }).getByRole("listitem").first().waitFor();
  await page.keyboard.press("t"); // the focus is not between the lists yet: no vote
  await tabTo(/^Left/);
  await page.keyboard.press("t");
  await page.getByText("Vote saved").waitFor();
  expect(await page.evaluate(() => document.activeElement?.tagName), "a vote keeps the focus").toBe("BUTTON");
  expect(walked.length).toBeGreaterThan(10);
  writeFileSync(join(SHOTS, "keyboard-walk.txt"), `${walked.join("\n")}\n`);
  await page.keyboard.press("?");
  await page.getByRole("dialog").getByText("go to the search box").waitFor();
  await page.keyboard.press("Escape");
  expect(await page.getByRole("dialog").count()).toBe(0);
  quiet();
});

describe("a service in trouble", () => {
  test("gone and back: the page says so, keeps what was typed, and recovers by itself", async () => {
    await page.goto(service.url);
    await page.getByRole("heading", { name: "Example pictures" }).waitFor();
    await service.down();
    await box().fill(query);
    await box().press("Enter");
    await page.getByRole("alert").getByText("The search service is not responding").waitFor();
    expect(await box().inputValue()).toBe(query);
    await page.getByText("Service not responding", { exact: true }).waitFor();
    await page.screenshot({ path: join(SHOTS, "gone-1440.png") });
    await service.up();
    await shown();
    expect(await page.getByRole("alert").count()).toBe(0);
    await page.getByText("Service ready").waitFor();
  });

  test.each([
    ["a proxy's page", { status: 200, contentType: "text/html", body: "<h1>Gateway</h1>" }, "unexpected answer"],
    [
      "half an answer",
      { status: 200, contentType: "application/json", body: '{"results": [{"product_id": "B0"' },
      "unexpected answer",
    ],
    [
      "a server error",
      { status: 500, contentType: "application/problem+json", body: '{"title":"x","status":500,"detail":"it broke"}' },
      "it broke",
    ],
    [
      "too many requests",
      {
        status: 429,
        headers: { "Retry-After": "1" },
        contentType: "application/problem+json",
        body: '{"title":"x","status":429,"detail":"slow down"}',
      },
      "slow down",
    ],
  ])("%s, then right again", async (_name, bad, said) => {
    await page.route("**/v1/predict", (route) => route.fulfill(bad));
    await page.goto(`${service.url}/?q=${encodeURIComponent(query)}`);
    await page.getByRole("alert").getByText(said).waitFor();
    expect(await box().inputValue()).toBe(query);
    await page.unroute("**/v1/predict");
    await shown();
  });

  test("a refusal by the real service is shown in its own words", async () => {
    await page.route("**/v1/predict", (route) => route.continue({ postData: JSON.stringify({ query, k: 1000 }) }));
    await page.goto(`${service.url}/?q=${encodeURIComponent(query)}`);
    await page.getByRole("alert").getByText("The service rejected the request").waitFor();
    expect(await box().inputValue()).toBe(query);
  });

  test("slow: said to be slow after three seconds, and answered when the answer comes", async () => {
    await page.route("**/v1/predict", async (route) => {
      await new Promise((later) => setTimeout(later, 5_000));
      await route.continue();
    });
    await page.goto(`${service.url}/?q=${encodeURIComponent(query)}`);
    await page.getByText("takes longer than usual").waitFor();
    await shown();
    quiet();
  });

  test("without its pictures the page keeps its shape", async () => {
    await page.route("**/v1/product/image*", (route) => route.abort());
    await openSearch();
    await page.getByRole("img", { name: "The picture could not be shown" }).first().waitFor();
    const tile = await page.getByRole("img", { name: "The picture could not be shown" }).first().boundingBox();
    expect([tile?.width, tile?.height]).toEqual([64, 64]);
  });
});

describe("looks", () => {
  const views: [string, () => string, (on: Page) => Promise<unknown>][] = [
    ["start", () => "/", (on) => on.getByRole("heading", { name: "Example pictures" }).waitFor()],
    ["search", () => `/?q=${encodeURIComponent(query)}`, (on) => on.getByRole("list", { name: "Results" }).waitFor()],
    [
      "product",
      () => `/p/${facets.sample_pictures[0]?.split("id=")[1]}`,
      (on) =>
        on
          .getByText(/numbers, norm/)
          .first()
          .waitFor({ timeout: STORE_MS }),
    ],
    [
      "compare",
      () => `/compare?q=${encodeURIComponent(query)}`,
      (on) => on.getByRole("region", { name: "Right" }).getByRole("listitem").first().waitFor(),
    ],
    ["models", () => "/models", (on) => on.getByRole("heading", { name: "Active models" }).waitFor()],
    ["monitoring", () => "/monitoring", (on) => on.getByRole("heading", { name: "Monitoring" }).waitFor()],
    [
      "interleaved",
      () => `/compare?mode=interleaved&q=${encodeURIComponent(query)}`,
      (on) => on.getByRole("list", { name: "Results" }).waitFor(),
    ],
    ["unknown", () => "/no/such/page", (on) => on.getByRole("heading", { name: /There is no page at/ }).waitFor()],
    ["docs", () => "/docs", (on) => on.getByRole("heading", { name: "Operations" }).waitFor()],
  ];
  const themes = [
    ["light", { colorScheme: "light", forcedColors: "none" }],
    ["dark", { colorScheme: "dark", forcedColors: "none" }],
    ["forced", { colorScheme: "light", forcedColors: "active" }],
  ] as const;
  const looks = views.flatMap(([name, path, ready]) =>
    ([360, 768, 1440] as const).map((width) => [name, width, path, ready] as const),
  );

  // A page is loaded once for its three themes, which are style sheets alone: no script asks for them.
  test.each(looks)("%s at %i px: nothing sticks out, nothing for axe", async (name, width, path, ready) => {
    await page.context().close();
    page = await newPage({ viewport: { width, height: 900 } });
    // The workdir of these tests has no report of its own.
    if (name === "monitoring") await page.route("**/v1/monitoring", (route) => route.fulfill({ json: REPORT }));
    await page.emulateMedia(themes[0][1]);
    await page.goto(service.url + path());
    await ready(page);
    await page.waitForLoadState("networkidle");
    for (const [theme, media] of themes) {
      await page.emulateMedia(media);
      // Colours that are still changing are of neither theme.
      await page.waitForFunction(() => document.getAnimations().every((one) => one.playState !== "running"));
      await page.screenshot({ path: join(SHOTS, `${name}-${width}-${theme}.png`), fullPage: true });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      expect(wide, theme).toBeLessThanOrEqual(0);
      const found = await check(page, [...WCAG_AA, "best-practice"]);
      expect(
        found.violations.map(({ text }) => text),
        theme,
      ).toEqual([]);
      expect(found.passes, theme).toBeGreaterThan(10);
    }
    // A page that is not there is answered with 404, which the browser writes down.
    if (name !== "unknown") quiet();
  });

  test("long titles and ids without a blank wrap, and Compare has scores at 360 px", async () => {
    await page.context().close();
    page = await newPage({ viewport: { width: 360, height: 900 } });
    const long = "x".repeat(1000);
    for (const path of ["**/v1/predict", "**/v1/search_a?*", "**/v1/search_b?*"])
      await page.route(path, async (route) => {
        const answer = await route.fetch();
        const body = (await answer.json()) as Schemas["SearchResponse"];
        for (const one of body.results)
          Object.assign(one, { title: long, product_id: `${one.product_id}${"9".repeat(180)}` });
        await route.fulfill({ response: answer, json: body });
      });
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    await openSearch();
    expect(await wide()).toBeLessThanOrEqual(0);
    await page.goto(`${service.url}/compare?q=${encodeURIComponent(query)}`);
    const column = page.getByRole("region", { name: "Left" });
    await column
      .getByText(/0\.\d\d/)
      .first()
      .waitFor();
    expect(await wide()).toBeLessThanOrEqual(0);
    await page.screenshot({ path: join(SHOTS, "long-titles-360.png") });
  });
});
