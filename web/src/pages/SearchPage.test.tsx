import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, test, vi } from "vitest";
import { answer, events, explained, FACETS, feedback, open, problem, result, serve, VERSIONS } from "../test/service";

const box = () => screen.getByRole("textbox", { name: "Search by words" });
const picture = (size: number, type = "image/png") => new File([new Uint8Array(size)], "shoe.png", { type });

describe("searching by words", () => {
  test("Enter searches, the address says it, the answer shows", async () => {
    const calls = serve({ "/v1/predict": answer([result(1), result(2)]) });
    const page = open("/");
    await userEvent.type(box(), "red shoes{Enter}");
    expect(await screen.findByRole("link", { name: "Product 2" })).toHaveAttribute("href", "/p/P2");
    expect(page.address()).toBe("/?q=red+shoes");
    expect(calls.find((call) => call.path === "/v1/predict")?.body).toEqual({
      query: "red shoes",
      k: 10,
      explain: false,
      verbatim: false,
      sort: "relevance",
      offset: 0,
      facets: true,
      filters: { brand: [], color: [], with_picture: false, attributes: {} },
    });
  });

  test("an address is searched as it says", async () => {
    const calls = serve({ "/v1/predict": answer([result(1)]) });
    open(
      "/?q=red&k=20&t=0.4&brand=Acme&color=Red&with_picture=1&filter=category:Home&filter=price:10..20&sort=price:asc&from=20",
    );
    await screen.findByRole("link", { name: "Product 1" });
    expect(calls.find((call) => call.path === "/v1/predict")?.body).toEqual({
      query: "red",
      k: 20,
      threshold: 0.4,
      explain: false,
      verbatim: false,
      sort: "price:asc",
      offset: 20,
      facets: true,
      filters: {
        brand: ["Acme"],
        color: ["Red"],
        with_picture: true,
        attributes: { category: { any: ["Home"] }, price: { any: ["10..20"] } },
      },
    });
    expect(screen.getByRole("checkbox", { name: /Acme/ })).toBeChecked();
  });

  test("a filter is a step in the address", async () => {
    serve({ "/v1/predict": answer([result(1)]) });
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
    serve({ "/v1/predict": answer([result(1)]) });
    open("/?q=red");
    expect(
      await screen.findByRole("img", { name: "exact 70 %, substitute 20 %, complement 6 %, irrelevant 4 %" }),
    ).toBeInTheDocument();
  });

  test("why asks for the parts of one score when it is opened", async () => {
    const parts = [
      { name: "cosine_image", label: "picture like the query", value: 0.4, contribution: 0.2 },
      { name: "brand", label: "brand asked for", value: 0, contribution: -0.05 },
      { name: "measure", label: "numbers and sizes", value: 0, contribution: 0 },
    ];
    const calls = serve({
      "/v1/predict": answer([result(1), result(2)]),
      "/v1/explain": explained("P1", { parts, score: 0.9, baseline: 0.75 }),
    });
    const page = open("/?q=red");
    const first = (await screen.findAllByRole("button", { name: "Why" }))[0] as HTMLElement;
    expect(calls.filter((call) => call.path === "/v1/explain")).toEqual([]);
    await userEvent.click(first);
    const rows = within(await screen.findByRole("table"))
      .getAllByRole("row")
      .slice(1);
    expect(rows.map((row) => row.textContent)).toEqual([
      "picture like the query0.40+0.200",
      "brand asked for0.00−0.050",
    ]);
    expect(screen.getByText(/No effect: numbers and sizes/)).toBeInTheDocument();
    expect(
      screen.getByText(/add up to the score 0.900 less 0.750, the score of the middle candidate/),
    ).toBeInTheDocument();
    expect(page.address()).toBe("/?q=red&why=P1");
    expect(calls.filter((call) => call.path === "/v1/explain").map((call) => call.body)).toEqual([
      {
        query: "red",
        product_id: "P1",
        filters: { brand: [], color: [], with_picture: false, attributes: {} },
        verbatim: false,
        model: VERSIONS.model,
        variant: "a",
      },
    ]);
    expect(calls.filter((call) => call.path === "/v1/predict")).toHaveLength(1);
  });

  test("j, k, w and m work from the keyboard", async () => {
    serve({
      "/v1/predict": answer([result(1), result(2)]),
      "/v1/product/similar?id=P2": { product_id: "P2", results: [] },
      "/v1/product?id=P2": problem(404, "x"),
    });
    const page = open("/?q=red");
    await screen.findByRole("link", { name: "Product 2" });
    await userEvent.keyboard("j");
    expect(document.body).toHaveFocus(); // keys are the list's while the focus is in it
    screen.getByRole("list", { name: "Results" }).focus();
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
      "/v1/predict": answer([result(1, { product_id: id }), result(2)]),
      "/v1/explain": explained(id),
    });
    const page = open("/?q=red");
    const why = (await screen.findAllByRole("button", { name: "Why" }))[0] as HTMLElement;
    await userEvent.click(why);
    const opened = why.getAttribute("aria-controls") ?? "";
    expect(opened).toMatch(/^\S+$/);
    await waitFor(() => expect(document.getElementById(opened)).toHaveTextContent("add up to the score"));
    await userEvent.click(screen.getByRole("link", { name: "Product 1" }));
    expect(page.address()).toBe("/p/gid%3A%2F%2Fshop%2FSKU%2012%2F3");
    expect(feedback(calls)).toMatchObject([{ kind: "click", product_id: id }]);
    expect(calls.find((call) => call.path === "/v1/product")?.params.get("id")).toBe(id);
    expect(events(calls).find((event) => event.action_name === "item_click")?.event_attributes?.position).toEqual({
      ordinal: 1,
    });
  });

  test("a judgement goes to the service and is said to be saved", async () => {
    const calls = serve({ "/v1/predict": answer([result(1)]) });
    open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "substitute" }));
    expect(await screen.findByText("saved")).toBeInTheDocument();
    expect(feedback(calls)).toEqual([
      expect.objectContaining({ request_id: "request-1", kind: "judgement", product_id: "P1", label: "S" }),
    ]);
    expect(screen.getByRole("button", { name: "substitute" })).toHaveFocus();
  });

  test("a judgement is of one answer: the next answer's card of the same product has none", async () => {
    serve({
      "/v1/predict": ({ body }) => answer([result(1)], { request_id: `of ${(body as { query: string }).query}` }),
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
    serve({ "/v1/predict": answer([result(1)]) });
    const served = fetch;
    vi.stubGlobal("fetch", async (request: Request) => {
      if (!request.url.endsWith("/v1/events")) return served(request);
      if ((await request.clone().json()).events[0].action_name === "view_search_results") return served(request);
      keys.push(request.headers.get("X-API-Key"));
      return keys.length === 1
        ? problem(401, "an API key is wanted")
        : Response.json({ accepted: 1, duplicates: 0, rejected: [] }, { status: 202 });
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
      const calls = serve({ "/v1/predict": answer([result(1)]), "/v1/events": problem(401, "an API key is wanted") });
      open("/?q=red");
      await userEvent.click(await screen.findByRole("button", { name: "exact" }));
      const field = await screen.findByLabelText(/API key/);
      fireEvent.change(field, { target: { value: bad } });
      await userEvent.click(screen.getByRole("button", { name: "Use key" }));
      expect(field).toHaveAccessibleDescription(/ASCII/);
      expect(field).toBeInvalid();
      expect(feedback(calls)).toHaveLength(1);
      expect(sessionStorage).toHaveLength(0);
    },
  );

  test("a kept key that no header can carry breaks no search, and feedback asks for another", async () => {
    sessionStorage.setItem("sqidflow.api-key", "ключ");
    serve({ "/v1/predict": answer([result(1)]), "/v1/events": problem(401, "an API key is wanted") });
    open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "exact" }));
    expect(await screen.findByLabelText(/API key/)).toBeInTheDocument();
    sessionStorage.clear();
  });

  test("the key goes with feedback and judgements, and with nothing else", async () => {
    sessionStorage.setItem("sqidflow.api-key", "secret");
    const sent: [string, string | null][] = [];
    serve({ "/v1/predict": answer([result(1)]) });
    const served = fetch;
    vi.stubGlobal("fetch", (request: Request) => {
      sent.push([new URL(request.url).pathname, request.headers.get("X-API-Key")]);
      return served(request);
    });
    open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "exact" }));
    await screen.findByText("saved");
    const withKey = sent.filter(([, key]) => key !== null).map(([path]) => path);
    expect(new Set(withKey)).toEqual(new Set(["/v1/events", "/v1/judgements"]));
    expect(sent.map(([path]) => path)).toContain("/v1/predict");
    sessionStorage.clear();
  });

  test("a picture that cannot be shown leaves a tile", async () => {
    serve({ "/v1/predict": answer([result(1, { image: "/products/P1/image" })]) });
    open("/?q=red");
    const row = (await screen.findByRole("link", { name: "Product 1" })).closest("article");
    fireEvent.error(within(row as HTMLElement).getByRole("presentation"));
    expect(await screen.findByRole("img", { name: "The picture could not be shown" })).toBeInTheDocument();
  });
});

describe("what the service is told and tells", () => {
  test("an answer that is shown, once, with the browser's id", async () => {
    const calls = serve({ "/v1/predict": answer([result(1)], { request_id: "shown-1" }) });
    open("/?q=red");
    await screen.findByRole("link", { name: "Product 1" });
    await waitFor(() => expect(events(calls)).toHaveLength(1));
    expect(events(calls)[0]).toEqual({
      action_name: "view_search_results",
      timestamp: expect.stringMatching(/Z$/),
      query_id: "shown-1",
      client_id: localStorage.getItem("sqidflow.client"),
      session_id: expect.stringMatching(/^[a-z0-9]{32}$/),
      event_attributes: { event_id: expect.stringMatching(/^[a-z0-9]{32}$/), position: { ordinal: 1 }, blind: true },
    });
  });

  test("a search has the ids of the browser and of the visit", async () => {
    const sent: Headers[] = [];
    serve({ "/v1/predict": answer([result(1)]) });
    const served = fetch;
    vi.stubGlobal("fetch", (request: Request) => {
      if (request.url.endsWith("/v1/predict")) sent.push(request.headers);
      return served(request);
    });
    open("/?q=red");
    await screen.findByRole("link", { name: "Product 1" });
    expect(sent[0]?.get("X-Client-Id")).toBe(localStorage.getItem("sqidflow.client"));
    expect(sent[0]?.get("X-Session-Id")).toMatch(/^[a-z0-9]{32}$/);
  });

  test("a judgement that the service rejects is said not to be saved", async () => {
    const rejected = [{ event: 0, code: "unknown_answer", detail: "there is no such answer, or it is too old" }];
    serve({ "/v1/predict": answer([result(1)]), "/v1/events": { accepted: 0, duplicates: 0, rejected } });
    open("/?q=red");
    await userEvent.click(await screen.findByRole("button", { name: "exact" }));
    expect(await screen.findByRole("alert")).toHaveTextContent("Not saved: there is no such answer");
  });

  test("a judgement of before is shown again", async () => {
    const judgement = { at: "2026-01-01T00:00:00Z", client: "c", query: "red", picture: false };
    const calls = serve({
      "/v1/predict": answer([result(1), result(2)], { original_query: "red" }),
      "/v1/judgements": { total: 1, judgements: [{ ...judgement, product_id: "P2", label: "C" }] },
    });
    open("/?q=red");
    await waitFor(() =>
      expect(screen.getAllByRole("button", { name: "complement" })[1]).toHaveAttribute("aria-pressed", "true"),
    );
    expect(screen.getAllByRole("button", { name: "complement" })[0]).toHaveAttribute("aria-pressed", "false");
    const asked = calls.find((call) => call.path === "/v1/judgements")?.params;
    expect([asked?.get("query"), asked?.get("client")]).toEqual(["red", localStorage.getItem("sqidflow.client")]);
  });

  test("a service with another index is asked for its brands and colours again", async () => {
    let index = VERSIONS.index;
    serve({
      "/v1/facets": () => ({ ...FACETS, index, colors: [{ value: index, products: 5 }] }),
      "/v1/predict": () => answer([result(1)], { versions: { ...VERSIONS, index } }),
    });
    const page = open("/?q=red");
    await screen.findByRole("checkbox", { name: new RegExp(VERSIONS.index) });
    index = "another";
    await page.router.navigate("/?q=blue");
    expect(await screen.findByRole("checkbox", { name: /another/ })).toBeInTheDocument();
    expect(screen.queryByRole("checkbox", { name: new RegExp(VERSIONS.index) })).not.toBeInTheDocument();
  });

  test("a service that hangs is not said to be ready", async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    const end = new AbortController();
    serve({});
    const served = fetch;
    let hangs = false;
    vi.stubGlobal("fetch", (request: Request) =>
      hangs && request.url.endsWith("/readyz")
        ? new Promise((_, reject) => end.signal.addEventListener("abort", () => reject(end.signal.reason)))
        : served(request),
    );
    open("/");
    await screen.findByText("Service ready");
    hangs = true;
    const timeout = vi.spyOn(AbortSignal, "timeout").mockReturnValue(end.signal);
    await vi.advanceTimersByTimeAsync(10_100);
    expect(timeout.mock.calls.at(-1)?.[0]).toBeLessThan(5_000);
    end.abort(new DOMException("timed out", "TimeoutError"));
    expect(await screen.findByText("Service not responding")).toBeInTheDocument();
  });
});

describe("keys and focus", () => {
  test("after Enter the results have the focus", async () => {
    serve({ "/v1/predict": answer([result(1)]) });
    open("/");
    await userEvent.type(box(), "red shoes{Enter}");
    await waitFor(() => expect(screen.getByRole("list", { name: "Results" })).toHaveFocus());
  });

  test("single keys can be switched off, and on again", async () => {
    // jsdom knows no dialogs.
    HTMLDialogElement.prototype.showModal = function showModal() {
      this.open = true;
    };
    serve({ "/v1/predict": answer([result(1)]) });
    const page = open("/?q=red");
    await screen.findByRole("link", { name: "Product 1" });
    const toggle = async () => {
      await userEvent.click(screen.getByRole("button", { name: "Keys" }));
      await userEvent.click(screen.getByRole("checkbox", { name: "Single keys are shortcuts" }));
      (screen.getByRole("dialog") as HTMLDialogElement).open = false;
      screen.getByRole("list", { name: "Results" }).focus();
    };
    await toggle();
    await userEvent.keyboard("jw/");
    expect(screen.getByRole("list", { name: "Results" })).toHaveFocus();
    expect(page.address()).toBe("/?q=red");
    await toggle();
    await userEvent.keyboard("j");
    expect(screen.getByRole("link", { name: "Product 1" })).toHaveFocus();
  });
});

describe("searching by picture", () => {
  test("a file is sent with the words, and stays in the address", async () => {
    const calls = serve({ "/v1/predict-image": answer([result(1)]) });
    const page = open("/");
    await screen.findByRole("link", { name: "red shoes" });
    await userEvent.type(box(), "blue");
    await userEvent.upload(screen.getByLabelText("Picture file"), picture(100));
    await screen.findByRole("link", { name: "Product 1" });
    expect(page.address()).toMatch(/^\/\?q=blue&picture=upload%3A/);
    expect(calls.filter((call) => call.path === "/v1/predict-image")).toHaveLength(1);
  });

  test("drop and paste do the same", async () => {
    const calls = serve({ "/v1/predict-image": answer([result(1)]) });
    open("/");
    await screen.findByRole("link", { name: "red shoes" });
    fireEvent.drop(window, { dataTransfer: { files: [picture(100)], types: ["Files"] } });
    await waitFor(() => expect(calls.filter((call) => call.path === "/v1/predict-image")).toHaveLength(1));
    const paste = new Event("paste", { bubbles: true, cancelable: true });
    Object.assign(paste, { clipboardData: { files: [picture(101)] } });
    window.dispatchEvent(paste);
    await waitFor(() => expect(calls.filter((call) => call.path === "/v1/predict-image")).toHaveLength(2));
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
    serve({ "/v1/predict": answer([result(1)]) });
    const page = open("/?q=red&picture=upload:other-browser");
    expect(await screen.findByRole("alert")).toHaveTextContent("The picture is no longer available");
    await userEvent.click(screen.getByRole("button", { name: "Search by words only" }));
    expect(await screen.findByRole("link", { name: "Product 1" })).toBeInTheDocument();
    expect(page.address()).toBe("/?q=red");
  });
});

describe("answers that are none", () => {
  test("an empty one says why and offers a way out", async () => {
    serve({ "/v1/predict": answer([], { no_answer: { code: "filtered_out", message: "No Zenmar product fits." } }) });
    const page = open("/?q=red&brand=Zenmar&t=0.9");
    expect(await screen.findByText("No Zenmar product fits.")).toBeInTheDocument();
    await userEvent.click(screen.getByRole("button", { name: "Search without filters" }));
    expect(page.address()).toBe("/?q=red");
  });

  test("an uncertain one says so", async () => {
    serve({ "/v1/predict": answer([result(1)], { uncertain: true }) });
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
    const calls = serve({ "/v1/predict": answer([result(1)], corrected) });
    const page = open("/?q=red+shose");
    expect(await screen.findByText(/Showing results for/)).toHaveTextContent("Showing results for red shoes");
    await userEvent.click(screen.getByRole("button", { name: "search instead for “red shose”" }));
    expect(page.address()).toBe("/?q=red+shose&verbatim=1");
    await waitFor(() =>
      expect(calls.filter((call) => call.path === "/v1/predict").at(-1)?.body).toMatchObject({ verbatim: true }),
    );
    expect(await screen.findByText(/Searched as typed/)).toBeInTheDocument();
  });

  test("a change of notation alone offers nothing", async () => {
    serve({ "/v1/predict": answer([result(1)], { original_query: "24 inches", rewritten_query: "24 inch" }) });
    open("/?q=24+inches");
    expect(await screen.findByText(/Showing results for/)).toBeInTheDocument();
    expect(screen.queryByRole("button", { name: /search instead/ })).toBeNull();
  });

  test("a wish that nothing meets is named", async () => {
    serve({ "/v1/predict": answer([result(1)], { unmet: [{ wish: "red", kind: "color" }] }) });
    open("/?q=red+kettle");
    expect(await screen.findByText("Nothing of this kind is “red”.")).toBeInTheDocument();
  });

  test("an index that could not be calibrated says so", async () => {
    serve({ "/v1/predict": answer([result(1)], { calibrated: false, cutoff: null }) });
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
    serve({ "/v1/predict": () => (up ? answer([result(1)]) : bad()) });
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
    const calls = serve({ "/v1/predict": problem(422, "query: at most 1000 characters") });
    open("/?q=red");
    expect(await screen.findByRole("alert")).toHaveTextContent("query: at most 1000 characters");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(calls.filter((call) => call.path === "/v1/predict")).toHaveLength(1);
  });

  test("a slow one is said to be slow, and its answer is shown when it comes", async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    let give: (value: object) => void = () => undefined;
    serve({
      "/v1/predict": () =>
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
      request.url.endsWith("/v1/predict")
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
