/** The pictures of the documentation, from the real service: `npm run screenshots`, or `make screenshots`. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "vitest";
import { launch, Service } from "../e2e/service";
import type { Schemas } from "../src/api/client";

const FOLDER = join(import.meta.dirname, "..", "..", "docs", "images");

test("screenshots", async () => {
  mkdirSync(FOLDER, { recursive: true });
  const service = await Service.start();
  const browser = await launch();
  try {
    const facets = (await (await fetch(`${service.url}/v1/facets`)).json()) as Schemas["Facets"];
    const [query = "", other = ""] = facets.sample_queries;
    await fetch(`${service.url}/v1/search_b?query=${encodeURIComponent(other)}`); // the first search of a process is not a usual one
    const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
    const take = async (name: string) => {
      await page.waitForLoadState("networkidle");
      await page.screenshot({ path: join(FOLDER, `${name}.png`) });
    };
    await page.goto(`${service.url}/?q=${encodeURIComponent(query)}`);
    await page.getByRole("button", { name: "Why" }).first().click();
    await page.getByRole("cell").first().waitFor();
    await take("search");
    await page.goto(`${service.url}/compare?named=1&q=${encodeURIComponent(other)}`);
    await page.getByRole("region", { name: "Variant B" }).getByRole("listitem").first().waitFor();
    await take("compare");
    await page.emulateMedia({ colorScheme: "dark" });
    await page.goto(service.url + (facets.sample_pictures[0] ?? "").replace("/v1/product/image?id=", "/p/"));
    await page
      .getByText(/numbers, norm/)
      .first()
      .waitFor({ timeout: 90_000 });
    await take("product");
  } finally {
    await browser.close();
    await service.down();
  }
});
