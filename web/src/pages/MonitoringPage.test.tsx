import { screen, within } from "@testing-library/react";
import { describe, expect, test } from "vitest";
import type { Schemas } from "../api/client";
import { open, problem, serve } from "../test/service";

const REPORT: Schemas["MonitoringReport"] = {
  created: "2026-05-04T12:00:00Z",
  since: "2026-04-27T12:00:00Z",
  until: "2026-05-04T11:00:00Z",
  model: "17",
  searches: 1234,
  different_queries: 456,
  clients: 7,
  volume: [{ from: "2026-05-04T00:00:00Z", hours: 24, searches: 1234 }],
  outcomes: { answered: 1200, nothing_fits: 34 },
  nothing_fits_share: 0.25,
  without_result_share: 0.3,
  cached_share: 0.1,
  latency_ms: { total_ms: { p50: 5, p90: 7, p99: 20 } },
  classes: { E: 10, I: 2 },
  unknown_words: [{ text: "qwxz", searches: 3 }],
  queries_without_result: [{ text: "blue qwxz", searches: 2 }],
  frequent_queries: [],
  actions: { click: 3 },
  positions: [{ position: 1, shown: 10, clicks: 3, rate: 0.3 }],
  answers_shown: 10,
  abandoned_share: null,
  log: {
    read: 1300,
    before_ubi: 0,
    duplicates: 4,
    clock_went_back: 1,
    unknown_answers: 2,
    not_read: { "damaged line": 5 },
  },
  quarantine: { "damaged line": 5 },
  drift: [
    {
      name: "language",
      title: "language of a query",
      statistic: "L-infinity",
      value: 0.2,
      threshold: 0.1,
      reference_size: 100,
      window_size: 456,
      shares: [{ name: "english", training: 0.6, log: 0.4 }],
      note: "",
      alarm: true,
    },
    {
      name: "score",
      title: "score of the first product",
      statistic: "Jensen-Shannon divergence",
      value: null,
      threshold: null,
      reference_size: 100,
      window_size: 3,
      shares: [],
      note: "not measured",
      alarm: false,
    },
  ],
  note: "",
  alarms: [{ name: "language", value: 0.2, threshold: 0.1, text: "language has drifted", hint: "add products" }],
};

describe("the monitoring page", () => {
  test("shows alarms with what to do, drift, clicks and the log", async () => {
    serve({ "/v1/monitoring": REPORT });
    open("/monitoring");
    const alarms = await screen.findByRole("list", { name: "Alarms" });
    expect(alarms).toHaveTextContent("language has drifted");
    expect(alarms).toHaveTextContent("What to do: add products.");
    const rows = within(screen.getByRole("region", { name: "Table of drift" })).getAllByRole("row");
    expect(rows[1]).toHaveTextContent("language of a queryL-infinity0.2000.100456alarm");
    expect(rows[2]).toHaveTextContent("not measured");
    expect(screen.getByText("30 % of 10")).toBeInTheDocument();
    expect(screen.getByRole("link", { name: "blue qwxz" })).toHaveAttribute("href", "/?q=blue+qwxz");
    expect(screen.getByRole("link", { name: "The whole report" })).toHaveAttribute("href", "/v1/monitoring/page");
    expect(screen.getByText("not read: damaged line").nextSibling).toHaveTextContent("5");
    expect(screen.getByText("shown and left without a click").nextSibling).toHaveTextContent("not known");
  });

  test("without drift there is no alarm, and without a model it says why nothing is compared", async () => {
    serve({ "/v1/monitoring": { ...REPORT, alarms: [], drift: [], note: "there is no pushed model", positions: [] } });
    open("/monitoring");
    expect(await screen.findByText("No alarm.")).toBeInTheDocument();
    expect(screen.getByText("there is no pushed model")).toBeInTheDocument();
    expect(screen.queryByRole("region", { name: "Table of drift" })).not.toBeInTheDocument();
  });

  test("without a report it says how to make one", async () => {
    serve({ "/v1/monitoring": problem(404, "There is no report on the searches: run `sqidflow monitor`.") });
    open("/monitoring");
    expect(await screen.findByText(/run `sqidflow monitor`/)).toBeInTheDocument();
  });
});
