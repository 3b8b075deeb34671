import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, test, vi } from "vitest";
import { answer, open, problem, result, serve } from "../test/service";

const box = () => screen.getByRole("textbox", { name: "Search by words" });
const picture = (size: number, type = "image/png") => new File([new Uint8Array(size)], "shoe.png", { type });

describe("searching by words", () => {
  test("Enter searches, the address says it, the answer shows", async () => {
    const calls = serve({ "/predict": answer([result(1), result(2)]) });
    const page = open("/");
    await userEvent.type(box(), "red shoes{Enter}");
    expect(await screen.findByRole("link", { name: "Product 2" })).toHaveAttribute("href", "/p/P2");
    expect(page.address()).toBe("/?q=red+shoes");
    expect(calls.find((call) => call.path === "/predict")?.body).toEqual({
      query: "red shoes",
      k: 10,
      explain: true,
      filters: { brand: [], color: [], with_picture: false },
    });
  });

  test("an address is searched as it says", async () => {
    const calls = serve({ "/predict": answer([result(1)]) });
    open("/?q=red&k=20&t=0.4&brand=Acme&color=Red&with_picture=1");
    await screen.findByRole("link", { name: "Product 1" });
    expect(calls.find((call) => call.path === "/predict")?.body).toEqual({
      query: "red",
      k: 20,
      threshold: 0.4,
      explain: true,
      filters: { brand: ["Acme"], color: ["Red"], with_picture: true },
    });
    expect(screen.getByRole("checkbox", { name: /Acme/ })).toBeChecked();
  });

  test("a filter is a step in the address", async () => {
    serve({ "/predict": answer([result(1)]) });
    const page = open("/?q=red");
    await userEvent.click(await screen.findByRole("checkbox", { name: /Red/ }));
    expect(page.address()).toBe("/?q=red&color=Red");
    await page.router.navigate(-1);
    await waitFor(() => expect(screen.getByRole("checkbox", { name: /Red/ })).not.toBeChecked());
  });

  test("/ focuses the box, and is a letter inside it", async () => {
    serve({});
    open("/");
    await userEvent.keyboard("/");
    expect(box()).toHaveFocus();
    expect(box()).toHaveValue("");
    await userEvent.keyboard("1/2 inch");
    expect(box()).toHaveValue("1/2 inch");
  });
});

describe("a result", () => {
  test("says its chances in words", async () => {
    serve({ "/predict": answer([result(1)]) });
    open("/?q=red");
    expect(
      await screen.findByRole("img", { name: "exact 70 %, substitute 20 %, complement 6 %, irrelevant 4 %" }),
    ).toBeInTheDocument();
  });

  test("why shows the parts of the score, and asks for nothing more", async () => {
    const parts = [
      { name: "cosine_image", label: "picture like the query", value: 0.4, contribution: 0.2 },
      { name: "brand", label: "brand asked for", value: 0, contribution: -0.05 },
      { name: "measure", label: "numbers and sizes", value: 0, contribution: 0 },
    ];
    const calls = serve({ "/predict": answer([result(1, { explanation: parts })]) });
    const page = open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "Why" }));
    const rows = within(await screen.findByRole("table"))
      .getAllByRole("row")
      .slice(1);
    expect(rows.map((row) => row.textContent)).toEqual([
      "picture like the query0.40+0.200",
      "brand asked for0.00−0.050",
    ]);
    expect(screen.getByText(/No effect: numbers and sizes/)).toBeInTheDocument();
    expect(page.address()).toBe("/?q=red&why=P1");
    expect(calls.filter((call) => call.path === "/predict")).toHaveLength(1);
  });

  test("j, k, w and m work from the keyboard", async () => {
    serve({
      "/predict": answer([result(1), result(2)]),
      "/products/P2/similar": { product_id: "P2", results: [] },
      "/products/P2": problem(404, "x"),
    });
    const page = open("/?q=red");
    await screen.findByRole("link", { name: "Product 2" });
    await userEvent.keyboard("jj");
    expect(screen.getByRole("link", { name: "Product 2" })).toHaveFocus();
    await userEvent.keyboard("w");
    expect(page.address()).toBe("/?q=red&why=P2");
    await userEvent.keyboard("k");
    expect(screen.getByRole("link", { name: "Product 1" })).toHaveFocus();
    await userEvent.keyboard("jm");
    expect(page.address()).toBe("/?like=P2");
  });

  test("an id of any letters opens its product, its parts, and is told as it is", async () => {
    const id = "gid://shop/SKU 12/3";
    const calls = serve({
      "/predict": answer([result(1, { product_id: id, explanation: [] }), result(2)]),
      "/feedback": { accepted: true },
    });
    const page = open("/?q=red");
    const why = (await screen.findAllByRole("button", { name: "Why" }))[0] as HTMLElement;
    await userEvent.click(why);
    const opened = why.getAttribute("aria-controls") ?? "";
    expect(opened).toMatch(/^\S+$/);
    expect(document.getElementById(opened)).toHaveTextContent("Each part is compared");
    await userEvent.click(screen.getByRole("link", { name: "Product 1" }));
    expect(page.address()).toBe("/p/gid%3A%2F%2Fshop%2FSKU%2012%2F3");
    expect(calls.find((call) => call.path === "/feedback")?.body).toMatchObject({ kind: "click", product_id: id });
    expect(calls.some((call) => call.path === "/products/gid%3A%2F%2Fshop%2FSKU%2012%2F3")).toBe(true);
  });

  test("a judgement goes to the service and is said to be saved", async () => {
    const calls = serve({ "/predict": answer([result(1)]), "/feedback": { accepted: true } });
    open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "substitute" }));
    expect(await screen.findByText("saved")).toBeInTheDocument();
    expect(calls.find((call) => call.path === "/feedback")?.body).toEqual({
      request_id: "request-1",
      kind: "judgement",
      product_id: "P1",
      label: "S",
    });
  });

  test("a judgement is of one answer: the next answer's card of the same product has none", async () => {
    serve({
      "/predict": ({ body }) => answer([result(1)], { request_id: `of ${(body as { query: string }).query}` }),
      "/feedback": { accepted: true },
    });
    const page = open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "exact" }));
    expect(await screen.findByText("saved")).toBeInTheDocument();
    await page.router.navigate("/?q=blue");
    await waitFor(() => expect(screen.queryByText("saved")).not.toBeInTheDocument());
    expect(screen.getByText("of blue")).toBeInTheDocument();
    expect(screen.getByRole("button", { name: "exact" })).toHaveAttribute("aria-pressed", "false");
  });

  test("a judgement that wants a key asks for it and is sent again with it", async () => {
    const keys: (string | null)[] = [];
    serve({ "/predict": answer([result(1)]) });
    const served = fetch;
    vi.stubGlobal("fetch", async (request: Request) => {
      if (!request.url.endsWith("/feedback")) return served(request);
      keys.push(request.headers.get("X-API-Key"));
      return keys.length === 1
        ? problem(401, "an API key is wanted")
        : Response.json({ accepted: true }, { status: 202 });
    });
    open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "exact" }));
    await userEvent.type(await screen.findByLabelText(/API key/), "secret{Enter}");
    expect(await screen.findByText("saved")).toBeInTheDocument();
    expect(keys).toEqual([null, "secret"]);
    sessionStorage.clear();
  });

  test.each(["ключ", "“secret”", "se\tcret"])(
    "a key that no header can carry (%j) is refused beside the field",
    async (bad) => {
      const calls = serve({ "/predict": answer([result(1)]), "/feedback": problem(401, "an API key is wanted") });
      open("/?q=red");
      await userEvent.click(await screen.findByRole("button", { name: "exact" }));
      const field = await screen.findByLabelText(/API key/);
      fireEvent.change(field, { target: { value: bad } });
      await userEvent.click(screen.getByRole("button", { name: "Use key" }));
      expect(field).toHaveAccessibleDescription(/ASCII/);
      expect(field).toBeInvalid();
      expect(calls.filter((call) => call.path === "/feedback")).toHaveLength(1);
      expect(sessionStorage).toHaveLength(0);
    },
  );

  test("a kept key that no header can carry breaks no search, and feedback asks for another", async () => {
    sessionStorage.setItem("sqidflow.api-key", "ключ");
    serve({ "/predict": answer([result(1)]), "/feedback": problem(401, "an API key is wanted") });
    open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "exact" }));
    expect(await screen.findByLabelText(/API key/)).toBeInTheDocument();
    sessionStorage.clear();
  });

  test("the key goes with feedback, and with nothing else", async () => {
    sessionStorage.setItem("sqidflow.api-key", "secret");
    const sent: [string, string | null][] = [];
    serve({ "/predict": answer([result(1)]), "/feedback": { accepted: true } });
    const served = fetch;
    vi.stubGlobal("fetch", (request: Request) => {
      sent.push([new URL(request.url).pathname, request.headers.get("X-API-Key")]);
      return served(request);
    });
    open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "exact" }));
    await screen.findByText("saved");
    expect(sent.filter(([, key]) => key !== null)).toEqual([["/feedback", "secret"]]);
    expect(sent.map(([path]) => path)).toContain("/predict");
    sessionStorage.clear();
  });

  test("a picture that cannot be shown leaves a tile", async () => {
    serve({ "/predict": answer([result(1, { image: "/products/P1/image" })]) });
    open("/?q=red");
    const row = (await screen.findByRole("link", { name: "Product 1" })).closest("article");
    fireEvent.error(within(row as HTMLElement).getByRole("presentation"));
    expect(await screen.findByRole("img", { name: "The picture could not be shown" })).toBeInTheDocument();
  });
});

describe("searching by picture", () => {
  test("a file is sent with the words, and stays in the address", async () => {
    const calls = serve({ "/predict-image": answer([result(1)]) });
    const page = open("/");
    await screen.findByRole("link", { name: "red shoes" });
    await userEvent.type(box(), "blue");
    await userEvent.upload(screen.getByLabelText("Picture file"), picture(100));
    await screen.findByRole("link", { name: "Product 1" });
    expect(page.address()).toMatch(/^\/\?q=blue&picture=upload%3A/);
    expect(calls.filter((call) => call.path === "/predict-image")).toHaveLength(1);
  });

  test("drop and paste do the same", async () => {
    const calls = serve({ "/predict-image": answer([result(1)]) });
    open("/");
    await screen.findByRole("link", { name: "red shoes" });
    fireEvent.drop(window, { dataTransfer: { files: [picture(100)], types: ["Files"] } });
    await waitFor(() => expect(calls.filter((call) => call.path === "/predict-image")).toHaveLength(1));
    const paste = new Event("paste", { bubbles: true, cancelable: true });
    Object.assign(paste, { clipboardData: { files: [picture(101)] } });
    window.dispatchEvent(paste);
    await waitFor(() => expect(calls.filter((call) => call.path === "/predict-image")).toHaveLength(2));
  });

  test("one that is too large is refused before it is sent, with the limit, and the words stay", async () => {
    const calls = serve({});
    open("/");
    await screen.findByRole("link", { name: "red shoes" });
    await userEvent.type(box(), "blue");
    await userEvent.upload(screen.getByLabelText("Picture file"), picture(1001));
    expect(await screen.findByRole("alert")).toHaveTextContent(
      "“shoe.png” is 1 kB; the limit for pictures is 1 kB. It was not sent.",
    );
    expect(box()).toHaveValue("blue");
    expect(calls.some((call) => call.method === "POST")).toBe(false);
  });

  test("a picture that this browser never had is said to be gone, with a way on", async () => {
    serve({ "/predict": answer([result(1)]) });
    const page = open("/?q=red&picture=upload:other-browser");
    expect(await screen.findByRole("alert")).toHaveTextContent("The picture is no longer available");
    await userEvent.click(screen.getByRole("button", { name: "Search by words only" }));
    expect(await screen.findByRole("link", { name: "Product 1" })).toBeInTheDocument();
    expect(page.address()).toBe("/?q=red");
  });
});

describe("answers that are none", () => {
  test("an empty one says why and offers a way out", async () => {
    serve({ "/predict": answer([], { no_answer: { code: "filtered_out", message: "No Zenmar product fits." } }) });
    const page = open("/?q=red&brand=Zenmar&t=0.9");
    expect(await screen.findByText("No Zenmar product fits.")).toBeInTheDocument();
    await userEvent.click(screen.getByRole("button", { name: "Search without filters" }));
    expect(page.address()).toBe("/?q=red");
  });

  test("an uncertain one says so", async () => {
    serve({ "/predict": answer([result(1)], { uncertain: true }) });
    open("/?q=red");
    expect(await screen.findByText(/No good match/)).toBeInTheDocument();
  });

  test("a corrected query is shown, and the one that was typed is offered", async () => {
    const changes = [{ original: "shose", replacement: "shoes", kind: "spelling" as const }];
    const corrected = {
      original_query: "red shose",
      rewritten_query: "red shoes",
      search_instead: "red shose",
      changes,
    };
    const calls = serve({ "/predict": answer([result(1)], corrected) });
    const page = open("/?q=red+shose");
    expect(await screen.findByText(/Showing results for/)).toHaveTextContent("Showing results for red shoes");
    await userEvent.click(screen.getByRole("button", { name: "search instead for “red shose”" }));
    expect(page.address()).toBe("/?q=red+shose&verbatim=1");
    await waitFor(() =>
      expect(calls.filter((call) => call.path === "/predict").at(-1)?.body).toMatchObject({ verbatim: true }),
    );
    expect(await screen.findByText(/Searched as typed/)).toBeInTheDocument();
  });

  test("a change of notation alone offers nothing", async () => {
    serve({ "/predict": answer([result(1)], { original_query: "24 inches", rewritten_query: "24 inch" }) });
    open("/?q=24+inches");
    expect(await screen.findByText(/Showing results for/)).toBeInTheDocument();
    expect(screen.queryByRole("button", { name: /search instead/ })).toBeNull();
  });

  test("a wish that nothing meets is named", async () => {
    serve({ "/predict": answer([result(1)], { unmet: [{ wish: "red", kind: "color" }] }) });
    open("/?q=red+kettle");
    expect(await screen.findByText("Nothing here is “red”.")).toBeInTheDocument();
  });

  test("an index that could not be calibrated says so", async () => {
    serve({ "/predict": answer([result(1)], { calibrated: false, cutoff: null }) });
    open("/?q=red");
    expect(await screen.findByText(/too small to tell what fits/)).toBeInTheDocument();
  });
});

describe("a service in trouble", () => {
  test.each([
    ["unreachable", () => Response.error(), /is not responding/],
    ["failing", () => problem(500, "it broke"), /failed/],
    ["starting", () => problem(503, "not yet"), /not ready yet/],
    ["answering garbage", () => new Response("<html>"), /unexpected answer/],
    [
      "answering another shape",
      () => ({ request_id: "r", results: [{ product_id: 1 }], versions: {}, timings: {} }),
      /unexpected answer/,
    ],
  ])("%s: the page says so, keeps what was typed, and recovers by itself", async (_name, bad, said) => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    let up = false;
    serve({ "/predict": () => (up ? answer([result(1)]) : bad()) });
    open("/?q=red+shoes");
    expect(await screen.findByRole("alert")).toHaveTextContent(said);
    expect(box()).toHaveValue("red shoes");
    up = true;
    await vi.advanceTimersByTimeAsync(3100);
    expect(await screen.findByRole("link", { name: "Product 1" })).toBeInTheDocument();
    expect(screen.queryByRole("alert")).not.toBeInTheDocument();
  });

  test("a refusal is shown in the service's words and not repeated", async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    const calls = serve({ "/predict": problem(422, "query: at most 1000 characters") });
    open("/?q=red");
    expect(await screen.findByRole("alert")).toHaveTextContent("query: at most 1000 characters");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(calls.filter((call) => call.path === "/predict")).toHaveLength(1);
  });

  test("a slow one is said to be slow, and its answer is shown when it comes", async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    let give: (value: object) => void = () => undefined;
    serve({
      "/predict": () =>
        new Promise<object>((resolve) => {
          give = resolve;
        }),
    });
    open("/?q=red");
    await vi.advanceTimersByTimeAsync(3100);
    expect(await screen.findByText(/takes longer than usual/)).toBeInTheDocument();
    give(answer([result(1)]));
    expect(await screen.findByRole("link", { name: "Product 1" })).toBeInTheDocument();
  });

  test("one that never answers ends after 20 seconds", async () => {
    const end = new AbortController();
    vi.spyOn(AbortSignal, "timeout").mockReturnValue(end.signal);
    serve({});
    const served = fetch;
    vi.stubGlobal("fetch", (request: Request) =>
      request.url.endsWith("/predict")
        ? new Promise((_, reject) => end.signal.addEventListener("abort", () => reject(end.signal.reason)))
        : served(request),
    );
    open("/?q=red");
    await screen.findByText("Searching");
    end.abort(new DOMException("timed out", "TimeoutError"));
    expect(await screen.findByRole("alert")).toHaveTextContent("The search service takes too long");
  });
});

test("the start page says that the sample is synthetic", async () => {
  serve({});
  open("/");
  expect(await screen.findByText("Synthetic sample.")).toBeInTheDocument();
  expect(screen.getByText("1,234 products, 1,200 with a picture.")).toBeInTheDocument();
});
