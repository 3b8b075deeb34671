import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, test } from "vitest";
import { answer, DELIVERY, events, feedback, open, problem, result, serve, VERSIONS } from "../test/service";
import { isSwapped } from "./ComparePage";
import { mlflowAddress } from "./ModelsPage";

const REPORT = {
  variants: [
    {
      variant: "a",
      description: "pointwise",
      exposures: 40,
      clicks: 12,
      click_rate: { mean: 0.3, low: 0.18, high: 0.45 },
      wins: 3,
      clients: 2,
    },
    { variant: "b", description: "cosine", exposures: 0, clicks: 0, click_rate: null, wins: 1, clients: 1 },
  ],
  ties: 1,
  undecided_clients: 0,
  not_counted: 2,
  test: "Sign test on clients.",
  sign_test_p: 0.625,
  verdict: "Too few to tell.",
};

const lists = () => screen.getByRole("region", { name: "Both answers" });

describe("the compare page", () => {
  const sides = () => ({
    "/v1/search_a": answer([result(1), result(2), result(3)], { request_id: "ra", variant: "a" }),
    "/v1/search_b": answer([result(2, { rank: 1 }), result(1, { rank: 2 }), result(9, { rank: 3 })], {
      request_id: "rb",
      variant: "b",
    }),
    "/v1/experiments/report": REPORT,
  });

  test("marks what moved", async () => {
    serve(sides());
    open("/compare?q=red&named=1");
    const b = await screen.findByRole("region", { name: "Variant B" });
    expect(
      within(b)
        .getAllByRole("listitem")
        .map((row) => row.textContent),
    ).toEqual([
      expect.stringContaining("1 places higher here"),
      expect.stringContaining("1 places lower here"),
      expect.stringContaining("only"),
    ]);
    expect(screen.getByText("50 % of the products are in both")).toBeInTheDocument();
  });

  test("a vote goes to the service once, and the report is read again", async () => {
    const calls = serve(sides());
    open("/compare?q=red&named=1");
    await screen.findByRole("region", { name: "Variant B" });
    await userEvent.keyboard("bb");
    expect(feedback(calls)).toEqual([]); // keys vote while the focus is between the lists
    lists().focus();
    await userEvent.keyboard("bb");
    expect(await screen.findByText("Vote saved.")).toBeInTheDocument();
    expect(feedback(calls)).toEqual([
      { request_id: "ra", kind: "vote", vote: "b", blind: false, client: expect.stringMatching(/^[a-z0-9]{32}$/) },
    ]);
    await waitFor(() =>
      expect(calls.filter((call) => call.path === "/v1/experiments/report").length).toBeGreaterThan(1),
    );
  });

  test("a vote that fails is said to have failed, and may be given again", async () => {
    let refused = true;
    const saved = { accepted: 1, duplicates: 0, rejected: [] };
    serve({ ...sides(), "/v1/events": () => (refused ? problem(500, "the log is full") : saved) });
    open("/compare?q=red&named=1");
    await userEvent.click(await screen.findByRole("button", { name: /^A/ }));
    expect(await screen.findByRole("alert")).toHaveTextContent("the log is full");
    refused = false;
    await userEvent.click(screen.getByRole("button", { name: /^A/ }));
    expect(await screen.findByText("Vote saved.")).toBeInTheDocument();
  });

  test.each(["ra", "rb"])("blind (%s): names come after the vote, and the vote is for who stood there", async (id) => {
    const calls = serve({ ...sides(), "/v1/search_a": answer([result(1)], { request_id: id, variant: "a" }) });
    open("/compare?q=red");
    await userEvent.click(await screen.findByRole("button", { name: /^Left/ }));
    const left = isSwapped(id) ? "b" : "a";
    expect(await screen.findByText(new RegExp(`left was ${left.toUpperCase()}`))).toBeInTheDocument();
    expect(feedback(calls)).toEqual([
      expect.objectContaining({ request_id: id, kind: "vote", vote: left, blind: true }),
    ]);
    expect(screen.getByRole("button", { name: new RegExp(`^${left.toUpperCase()}`) })).toHaveFocus();
  });

  test("with both lists empty no vote is taken, by key neither, and the page says so", async () => {
    const none = { no_answer: { code: "nothing_fits" as const, message: "No product fits." } };
    const calls = serve({
      ...sides(),
      "/v1/search_a": answer([], { request_id: "ra", variant: "a", ...none }),
      "/v1/search_b": answer([], { request_id: "rb", variant: "b", ...none }),
    });
    open("/compare?q=asdfghjkl");
    expect(await screen.findByText("Both lists are empty, so there is nothing to vote on.")).toBeInTheDocument();
    expect(screen.getByText("No product fits.")).toBeInTheDocument();
    expect(screen.queryByRole("group", { name: "Which is better" })).not.toBeInTheDocument();
    await userEvent.keyboard("abt");
    expect(feedback(calls)).toEqual([]);
  });

  test("one empty list is something to vote on", async () => {
    const calls = serve({ ...sides(), "/v1/search_b": answer([], { request_id: "rb", variant: "b" }) });
    open("/compare?q=red&named=1");
    await screen.findByText("No answer.");
    lists().focus();
    await userEvent.keyboard("t");
    expect(await screen.findByText(/Vote saved/)).toBeInTheDocument();
    expect(feedback(calls)).toHaveLength(1);
  });

  test("no vote is taken while one list still answers the query before", async () => {
    let give: (value: object) => void = () => undefined;
    const calls = serve({
      ...sides(),
      "/v1/search_b": ({ params }) =>
        params.get("query") === "red"
          ? sides()["/v1/search_b"]
          : new Promise<object>((resolve) => {
              give = resolve;
            }),
    });
    const page = open("/compare?q=red&named=1");
    await screen.findByText("50 % of the products are in both");
    await page.router.navigate("/compare?q=blue");
    await waitFor(() => expect(calls.filter((call) => call.params.get("query") === "blue")).toHaveLength(2));
    await waitFor(() =>
      expect(screen.getByRole("button", { name: /^No difference/ })).toHaveAttribute("aria-disabled", "true"),
    );
    lists().focus();
    await userEvent.keyboard("t");
    expect(feedback(calls)).toEqual([]);
    give(answer([result(4)], { request_id: "rb2", variant: "b" }));
    await screen.findByText("Product 4");
    lists().focus();
    await userEvent.keyboard("t");
    expect(await screen.findByText(/Vote saved/)).toBeInTheDocument();
  });

  test("interleaved: nobody is told who brought what, until the switch that says it unblinds", async () => {
    serve({ ...sides(), "/v1/search_best": answer([result(1, { variant: "a" }), result(2, { variant: "b" })]) });
    const page = open("/compare?q=red&mode=interleaved");
    await screen.findByRole("link", { name: "Product 2" });
    expect(screen.queryByText(/from variant/)).not.toBeInTheDocument();
    await userEvent.click(screen.getByRole("checkbox", { name: /variant names: clicks are then not blind/ }));
    expect(screen.getAllByText(/^from variant/).map((said) => said.textContent)).toEqual([
      "from variant A",
      "from variant B",
    ]);
    expect(page.address()).toBe("/compare?q=red&mode=interleaved&named=1");
  });

  test("neither variant nor model is named before a blind vote", async () => {
    const variants = ["a", "b"].map((variant) => ({ variant, description: `model of ${variant}`, versions: VERSIONS }));
    serve({ ...sides(), "/v1/version": { sqidflow: "0.1.0", variants, delivery: DELIVERY } });
    open("/compare?q=red");
    await screen.findByRole("region", { name: "Left" });
    await screen.findByText("Too few to tell.");
    expect(screen.queryByText(/model of|^Variant [AB]/)).not.toBeInTheDocument();
    lists().focus();
    await userEvent.keyboard("t");
    expect(await screen.findByText(/Vote saved/)).toBeInTheDocument();
    expect(screen.getByText("model of a")).toBeInTheDocument();
  });

  test("the report has its interval and its test", async () => {
    serve(sides());
    open("/compare");
    expect(await screen.findByText("Too few to tell.")).toBeInTheDocument();
    expect(screen.getByText("0.300")).toHaveTextContent("0.300 [0.180, 0.450]");
    expect(screen.getByText(/p = 0.625/)).toBeInTheDocument();
  });
});

test("blind sides are a coin, not a rule", () => {
  expect(new Set(["ra", "rb", "rc", "rd"].map(isSwapped)).size).toBe(2);
});

describe("the product page", () => {
  const product = {
    product_id: "P1",
    title: "Red shoe",
    brand: "Acme",
    color: null,
    description: "A shoe.",
    bullet_points: "Size: 8\nMaterial: wool",
    image: null,
    judged_for: [
      { query_id: 1, query: "boot", label: "I" },
      { query_id: 2, query: "red shoe", label: "E" },
    ],
    versions: VERSIONS,
  };
  const similar = {
    product_id: "P1",
    results: [{ product_id: "P7", title: "Blue shoe", brand: null, color: "Blue", image: null, similarity: 0.91 }],
  };
  const features = {
    product_id: "P1",
    feature_service: "ranker_v1",
    has_image: false,
    product_text_vec: [3, 4],
    product_image_vec: null,
  };

  test("tells that it is shown, and of which answer, where it was opened from one", async () => {
    const calls = serve({
      "/v1/predict": answer([result(4), result(1)]),
      "/v1/product?id=P1": product,
      "/v1/product/similar?id=P1": similar,
      "/v1/product/features?id=P1": features,
    });
    const page = open("/?q=red");
    await userEvent.click(await screen.findByRole("link", { name: "Product 1" }));
    const views = () => events(calls).filter((event) => event.action_name === "product_view");
    await waitFor(() => expect(views()).toHaveLength(1));
    expect(views()[0]).toMatchObject({
      query_id: "request-1",
      event_attributes: { object: { object_id: "P1" }, position: { ordinal: 1 } },
    });
    await page.router.navigate("/models");
    await page.router.navigate("/p/P1");
    await waitFor(() => expect(views()).toHaveLength(2));
    expect(views()[1]?.query_id).toBeUndefined();
  });

  test("shows details, judged queries (exact first), neighbours, features and lineage", async () => {
    serve({
      "/v1/product?id=P1": product,
      "/v1/product/similar?id=P1": similar,
      "/v1/product/features?id=P1": features,
    });
    open("/p/P1");
    expect(await screen.findByRole("heading", { name: "Red shoe" })).toBeInTheDocument();
    const judged = screen
      .getAllByRole("link")
      .filter((link) => /^\/\?q=(red|boot)/.test(link.getAttribute("href") ?? ""));
    expect(judged.map((link) => link.textContent)).toEqual(["red shoe", "boot"]);
    expect(await screen.findByRole("link", { name: "Blue shoe" })).toHaveAttribute("href", "/p/P7");
    expect(await screen.findByText("2 numbers, norm 5.00")).toBeInTheDocument();
    expect(screen.getByText("0a1b2c3d")).toBeInTheDocument();
    expect(screen.getByText("Material: wool")).toBeInTheDocument();
  });

  test.each(["SKU 12/3", "gid://shopify/Product/9", "100% wool?#"])(
    "is asked for by its id as it is: %j",
    async (id) => {
      const near = {
        product_id: `${id}/b`,
        title: "Blue shoe",
        brand: null,
        color: null,
        image: null,
        similarity: 0.9,
      };
      const calls = serve({
        [`/v1/product?id=${id}`]: {
          ...product,
          product_id: id,
          image: `/v1/product/image?id=${encodeURIComponent(id)}`,
        },
        [`/v1/product/similar?id=${id}`]: { product_id: id, results: [near] },
        [`/v1/product/features?id=${id}`]: { ...features, product_id: id },
      });
      const page = open(`/p/${encodeURIComponent(id)}`);
      expect(await screen.findByRole("heading", { name: "Red shoe" })).toBeInTheDocument();
      expect(screen.getByText(id)).toBeInTheDocument();
      expect(await screen.findByText("2 numbers, norm 5.00")).toBeInTheDocument();
      expect(await screen.findByRole("link", { name: "Blue shoe" })).toHaveAttribute(
        "href",
        `/p/${encodeURIComponent(`${id}/b`)}`,
      );
      await userEvent.click(screen.getByRole("link", { name: "More like this" }));
      expect(await screen.findByRole("link", { name: "Red shoe" })).toHaveAttribute(
        "href",
        `/p/${encodeURIComponent(id)}`,
      );
      await page.router.navigate(-1);
      await userEvent.click(await screen.findByRole("link", { name: "Search with this picture" }));
      await waitFor(() => expect(calls.find((call) => call.path === "/v1/product/image")?.params.get("id")).toBe(id));
    },
  );

  test("one that is not there says so", async () => {
    serve({ "/v1/product?id=NONE": problem(404, "There is no product NONE.") });
    open("/p/NONE");
    expect(await screen.findByText("There is no product NONE.")).toBeInTheDocument();
  });

  test("features that cannot be read leave the rest", async () => {
    serve({
      "/v1/product?id=P1": product,
      "/v1/product/similar?id=P1": similar,
      "/v1/product/features?id=P1": problem(503, "the online store is empty"),
    });
    open("/p/P1");
    expect(await screen.findByText("the online store is empty")).toBeInTheDocument();
    expect(screen.getByRole("heading", { name: "Red shoe" })).toBeInTheDocument();
  });
});

describe("the models page", () => {
  test("an audit is linked with its verdict", async () => {
    serve({
      "/v1/runs": { runs: [], mlflow_url: null, note: "no run" },
      "/v1/version": {
        sqidflow: "0.1.0",
        variants: [],
        delivery: DELIVERY,
        audit: { model: "17", verdict: "warn" },
      },
    });
    open("/models");
    expect(await screen.findByRole("link", { name: "Audit of model 17" })).toHaveAttribute("href", "/audit");
    expect(screen.getByText(/there are warnings/)).toBeInTheDocument();
  });

  test("it says which versions answer, and why the newest does not", async () => {
    serve({
      "/v1/runs": { runs: [], mlflow_url: null, note: "no run" },
      "/v1/version": {
        sqidflow: "0.1.0",
        variants: [],
        delivery: {
          served: "17",
          pinned: true,
          note: "model 17 answers, it is pinned: 18 is newer; `sqidflow rollback --release` serves it",
          canary: "18",
          canary_share: 0.05,
          shadow: "19",
        },
      },
    });
    open("/models");
    expect(await screen.findByText(/17 answers, it is pinned: 18 is newer; sqidflow rollback/)).toBeInTheDocument();
    expect(screen.getByText("Model 18 answers 5 % of the clients.")).toBeInTheDocument();
    expect(screen.getByText(/Model 19 searches beside/)).toBeInTheDocument();
  });

  const run = {
    model: "pointwise",
    run_id: "abcdef123456",
    started: "2026-11-24T12:00:00Z",
    ndcg: { mean: 0.955, low: 0.938, high: 0.97 },
    rung: "networks and trees",
    search_mrr: 0.619,
    search_recall_at_10: 0.415,
    search_untrained_mrr: 0.474,
    energy_kwh: 0.000053,
    blessed: true,
    serving: true,
    data_hash: "4f1d2c9d8e7f.dir",
    mlflow_path: "#/experiments/1/runs/abcdef123456",
  };

  test("shows each training, and links into MLflow", async () => {
    const other = {
      ...run,
      run_id: "f00",
      model: "query_mlp",
      blessed: null,
      serving: false,
      ndcg: null,
      rung: null,
      search_mrr: null,
      search_recall_at_10: null,
      search_untrained_mrr: null,
      energy_kwh: null,
    };
    serve({ "/v1/runs": { runs: [run, other], mlflow_url: "http://127.0.0.1:5000/", note: null } });
    open("/models");
    const rows = within(await screen.findByRole("table")).getAllByRole("row");
    expect(rows[1]).toHaveTextContent("pointwisenetworks and treesserving");
    expect(rows[1]).toHaveTextContent("0.619 untrained 0.474");
    expect(rows[1]).toHaveTextContent("0.955 [0.938, 0.970]");
    expect(rows[1]).toHaveTextContent("0.000053");
    expect(rows[2]).toHaveTextContent("not evaluated");
    expect(screen.getByRole("link", { name: "abcdef12…" })).toHaveAttribute(
      "href",
      "http://127.0.0.1:5000/#/experiments/1/runs/abcdef123456",
    );
  });

  test("without runs, the note says why", async () => {
    serve({ "/v1/runs": { runs: [], mlflow_url: null, note: "MLflow has no experiment yet." } });
    open("/models");
    expect(await screen.findByText("MLflow has no experiment yet.")).toBeInTheDocument();
  });

  test("only web addresses are linked", () => {
    expect(mlflowAddress("javascript:alert(1)//", "#/x")).toBeNull();
    expect(mlflowAddress(null, "#/x")).toBeNull();
  });
});

test("an address without a page says so", async () => {
  serve({});
  open("/nowhere");
  expect(await screen.findByText("There is no page at /nowhere")).toBeInTheDocument();
});

test("an answer that breaks the drawing leaves a page that says so", async () => {
  serve({ "/v1/runs": { runs: [{ model: {} }], mlflow_url: null } });
  open("/models");
  expect(await screen.findByText("This page could not be shown")).toBeInTheDocument();
});
