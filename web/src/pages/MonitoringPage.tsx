import type { ReactNode } from "react";
import { Link } from "react-router";
import { onService } from "../api/address";
import type { Schemas } from "../api/client";
import { useMonitoring } from "../api/queries";
import { Failure } from "../components/Failure";
import { ScrollTable } from "../components/ScrollTable";
import { formatCount, formatMs, formatShare, formatTime } from "../lib/format";
import { address } from "../lib/searchState";
import { useTitle } from "../lib/useTitle";

type Report = Schemas["MonitoringReport"];

/** The last report of `sqidflow monitor`. */
export function MonitoringPage() {
  const report = useMonitoring();
  useTitle("Monitoring");
  return (
    <>
      <h1 className="mb-1 text-lg">Monitoring</h1>
      {report.error ? (
        <Failure error={report.error} onRetry={() => void report.refetch()} />
      ) : report.data ? (
        <Sections report={report.data} />
      ) : (
        <p role="status" className="text-sm text-soft">
          Loading the report.
        </p>
      )}
    </>
  );
}

function Sections({ report }: { report: Report }) {
  return (
    <>
      <p className="mb-4 max-w-prose text-sm text-soft">
        {formatCount(report.searches)} searches for {formatCount(report.different_queries)} queries
        {report.since && ` from ${formatTime(report.since)}`}
        {report.until && ` to ${formatTime(report.until)}`}. Written {formatTime(report.created)} by{" "}
        <code className="font-mono text-xs">sqidflow monitor</code>.{" "}
        <a href={onService("/v1/monitoring/page")} className="link">
          The whole report
        </a>
      </p>
      <Alarms alarms={report.alarms} />
      <div className="mt-6 grid gap-4 md:grid-cols-2">
        <Panel title="Searches over time">
          <Bars
            rows={report.volume.slice(-MOST_BARS).map((each) => ({
              name: formatTime(each.from),
              value: each.searches,
              text: formatCount(each.searches),
            }))}
          />
        </Panel>
        <Panel title="Answers">
          <Facts
            rows={[
              ["nothing fits", share(report.nothing_fits_share)],
              ["without a result", share(report.without_result_share)],
              ["from the cache", share(report.cached_share)],
              ["shown and left without a click", share(report.abandoned_share)],
              ...Object.entries(report.latency_ms).map(([part, { p50, p99 }]): [string, string] => [
                PARTS[part] ?? part,
                `half within ${formatMs(p50)}, 99 % within ${formatMs(p99)}`,
              ]),
            ]}
          />
        </Panel>
        <Panel title="Clicks by position">
          <Bars
            rows={report.positions.slice(0, MOST_BARS).map((each) => ({
              name: `Position ${each.position}`,
              value: each.rate ?? 0,
              text: `${share(each.rate)} of ${formatCount(each.shown)}`,
            }))}
          />
        </Panel>
        <Panel title="Predicted classes">
          <Bars
            rows={Object.entries(report.classes).map(([name, value]) => ({ name, value, text: formatCount(value) }))}
          />
        </Panel>
        <Panel title="Words that the catalogue does not know">
          <Searched rows={report.unknown_words} />
        </Panel>
        <Panel title="Queries without a result">
          <Searched rows={report.queries_without_result} />
        </Panel>
      </div>
      <Drift report={report} />
      <LogState report={report} />
    </>
  );
}

const PARTS: Record<string, string> = {
  rewrite_ms: "rewriting",
  encode_ms: "encoding",
  retrieve_ms: "retrieving",
  rank_ms: "ranking",
  total_ms: "the whole answer",
};

function share(value: number | null): string {
  return value === null ? "not known" : formatShare(value);
}

function Alarms({ alarms }: { alarms: Report["alarms"] }) {
  if (alarms.length === 0) return <p className="panel px-4 py-3 text-sm text-good-ink">No alarm.</p>;
  return (
    <ul className="space-y-2" aria-label="Alarms">
      {alarms.map((alarm) => (
        <li key={alarm.name} className="rounded-lg bg-bad px-4 py-2 text-sm text-bad-ink">
          <p className="font-medium">{alarm.text}</p>
          <p>What to do: {alarm.hint}.</p>
        </li>
      ))}
    </ul>
  );
}

function Panel({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="panel min-w-0 p-4">
      <h2 className="mb-2 text-base">{title}</h2>
      {children}
    </section>
  );
}

function Nothing() {
  return <p className="text-sm text-soft">Nothing was logged.</p>;
}

function Facts({ rows }: { rows: [string, string][] }) {
  return (
    <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
      {rows.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-soft">{name}</dt>
          <dd className="figures min-w-0">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

const MOST_BARS = 28;

/** Values as bars, each with its name and its value as text. */
function Bars({ rows }: { rows: { name: string; value: number; text: string }[] }) {
  if (rows.length === 0) return <Nothing />;
  const most = Math.max(...rows.map((row) => row.value), Number.MIN_VALUE);
  return (
    <ul className="space-y-1 text-sm">
      {rows.map((row) => (
        <li
          key={row.name}
          className="grid grid-cols-[8rem_1fr_7rem] items-center gap-2 max-sm:grid-cols-[6rem_1fr_5rem]"
        >
          <span className="text-xs text-soft">{row.name}</span>
          <span aria-hidden className="h-3 rounded-sm bg-sunken">
            <span
              className="graphic block h-3 rounded-sm bg-accent"
              style={{ width: `${(row.value / most) * 100}%` }}
            />
          </span>
          <span className="figures text-right text-xs">{row.text}</span>
        </li>
      ))}
    </ul>
  );
}

function Searched({ rows }: { rows: Schemas["Counted"][] }) {
  if (rows.length === 0) return <Nothing />;
  return (
    <ul className="space-y-1 text-sm">
      {rows.slice(0, 10).map((row) => (
        <li key={row.text} className="flex justify-between gap-4">
          <Link to={address("/", { query: row.text })} className="link min-h-6 min-w-6 break-words" dir="auto">
            {row.text}
          </Link>
          <span className="figures shrink-0 text-soft">{formatCount(row.searches)}</span>
        </li>
      ))}
    </ul>
  );
}

function Drift({ report }: { report: Report }) {
  return (
    <section className="mt-8">
      <h2 className="mb-1 text-base">Drift from the training data</h2>
      <p className="mb-3 max-w-prose text-sm text-soft">
        {report.drift.length === 0
          ? report.note || "Nothing is compared."
          : "How far the searched queries, each once, are from those of the training. Beyond what chance reaches there is an alarm."}
      </p>
      {report.drift.length > 0 && (
        <ScrollTable label="Table of drift" className="panel">
          <table className="w-full min-w-[40rem] text-sm">
            <thead>
              <tr className="border-b border-line text-left text-soft">
                <th className="px-4 py-2 font-medium">Measure</th>
                <th className="px-4 py-2 font-medium">Distance</th>
                <th className="px-4 py-2 text-right font-medium">Value</th>
                <th className="px-4 py-2 text-right font-medium">By chance</th>
                <th className="px-4 py-2 text-right font-medium">Queries</th>
                <th className="px-4 py-2 font-medium">State</th>
              </tr>
            </thead>
            <tbody>
              {report.drift.map((check) => (
                <tr key={check.name} className="border-b border-line last:border-0">
                  <th scope="row" className="px-4 py-2 text-left font-normal">
                    {check.title}
                  </th>
                  <td className="px-4 py-2 text-soft">{check.statistic}</td>
                  <td className="figures px-4 py-2 text-right">{check.value?.toFixed(3) ?? ""}</td>
                  <td className="figures px-4 py-2 text-right">{check.threshold?.toFixed(3) ?? ""}</td>
                  <td className="figures px-4 py-2 text-right">{formatCount(check.window_size)}</td>
                  <td
                    className={`px-4 py-2 ${check.alarm ? "text-bad-ink" : check.value === null ? "text-soft" : "text-good-ink"}`}
                  >
                    {check.alarm ? "alarm" : check.value === null ? "not measured" : "as usual"}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </ScrollTable>
      )}
    </section>
  );
}

function LogState({ report }: { report: Report }) {
  const { log, quarantine } = report;
  const aside = Object.entries(quarantine).map(([reason, count]): [string, string] => [
    `set aside: ${reason}`,
    formatCount(count),
  ]);
  return (
    <section className="panel mt-8 p-4">
      <h2 className="mb-2 text-base">The log itself</h2>
      <Facts
        rows={[
          ["searches and events read", formatCount(log.read)],
          ["delivered again, counted once", formatCount(log.duplicates)],
          ["events of unknown answers", formatCount(log.unknown_answers)],
          ["lines at which the clock went back", formatCount(log.clock_went_back)],
          ...Object.entries(log.not_read).map(([reason, count]): [string, string] => [
            `not read: ${reason}`,
            formatCount(count),
          ]),
          ...aside,
        ]}
      />
    </section>
  );
}
