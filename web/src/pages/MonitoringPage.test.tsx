import { screen, within } from "@testing-library/react";
import { describe, expect, test } from "vitest";
import { REPORT } from "../test/report";
import { open, problem, serve } from "../test/service";

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

  test("of many positions the first have bars, of many hours the last", async () => {
    const positions = Array.from({ length: 40 }, (_, at) => ({ position: at + 1, shown: 9, clicks: 3, rate: 0.3 }));
    const volume = positions.map(({ position }) => ({
      from: new Date(Date.UTC(2026, 4, position)).toISOString(),
      hours: 24,
      searches: 7000 + position,
    }));
    serve({ "/v1/monitoring": { ...REPORT, positions, volume } });
    open("/monitoring");
    expect(await screen.findByText("Position 1")).toBeInTheDocument();
    expect(screen.getByText("Position 28")).toBeInTheDocument();
    expect(screen.queryByText("Position 29")).not.toBeInTheDocument();
    expect(screen.getByText("7,040")).toBeInTheDocument();
    expect(screen.queryByText("7,012")).not.toBeInTheDocument();
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
