import { onService } from "../api/address";
import type { Schemas } from "../api/client";
import { useRuns, useVersion } from "../api/queries";
import { Failure } from "../components/Failure";
import { IntervalMark } from "../components/IntervalMark";
import { Lineage } from "../components/Lineage";
import { ScrollTable } from "../components/ScrollTable";
import { formatTime, short } from "../lib/format";
import { useTitle } from "../lib/useTitle";

/** The address of a run in MLflow's UI, or null. Only http and https addresses are linked. */
export function mlflowAddress(base: string | null, path: string): string | null {
  if (!base || !/^https?:\/\//.test(base)) return null;
  return `${base.replace(/\/+$/, "")}/${path.replace(/^\/+/, "")}`;
}

const AUDITED = { pass: "nothing stands out", warn: "there are warnings", block: "the model is blocked" } as const;

export function ModelsPage() {
  const runs = useRuns();
  const version = useVersion();
  useTitle("Models");
  return (
    <>
      <h1 className="mb-1 text-lg">Models</h1>
      <p className="mb-4 max-w-prose text-sm text-soft">
        All trainings in MLflow. NDCG is measured on held-out queries, with 95 % intervals.
      </p>
      {runs.error ? (
        <Failure error={runs.error} onRetry={() => void runs.refetch()} />
      ) : !runs.data ? (
        <p role="status" className="text-sm text-soft">
          Loading the runs.
        </p>
      ) : runs.data.runs.length === 0 ? (
        <p className="panel px-5 py-4 text-sm">{runs.data.note ?? "There is no run yet."}</p>
      ) : (
        <RunsTable runs={runs.data.runs} mlflowUrl={runs.data.mlflow_url} />
      )}
      {runs.data && runs.data.runs.length > 0 && runs.data.mlflow_url === null && (
        <p className="mt-2 text-sm text-soft">
          {runs.data.note ?? "Set search.mlflow_url to the address of MLflow's UI to link the runs."}
        </p>
      )}
      <section className="mt-8">
        <h2 className="mb-3 text-base">Active models</h2>
        {version.data?.audit && (
          <p className="mb-3 text-sm">
            <a href={onService("/audit")} className="link">
              Audit of model {version.data.audit.model}
            </a>
            : {AUDITED[version.data.audit.verdict]}
          </p>
        )}
        {version.data && <Delivered delivery={version.data.delivery} />}
        {version.error ? (
          <Failure error={version.error} onRetry={() => void version.refetch()} />
        ) : (
          <div className="grid gap-4 md:grid-cols-2">
            {version.data?.variants.map(({ variant, description, versions }) => (
              <section key={variant} className="panel p-4">
                <h3 className="mb-2 text-sm">
                  <span className={variant === "a" ? "text-variant-a" : "text-variant-b"}>{variant.toUpperCase()}</span>{" "}
                  {description}
                </h3>
                <Lineage versions={versions} />
              </section>
            ))}
          </div>
        )}
      </section>
    </>
  );
}

/** Why the newest push does not answer, and which other versions do. */
function Delivered({ delivery }: { delivery: Schemas["Delivered"] }) {
  const share = `${(100 * delivery.canary_share).toLocaleString("en", { maximumFractionDigits: 2 })} %`;
  return (
    <>
      {delivery.note && (
        <p role="status" className="mb-3 rounded-lg bg-warn px-4 py-2 text-sm text-warn-ink">
          {delivery.note.replaceAll("`", "")}
        </p>
      )}
      {delivery.canary && (
        <p className="mb-3 text-sm">
          Model {delivery.canary} answers {share} of the clients.
        </p>
      )}
      {delivery.shadow && (
        <p className="mb-3 text-sm">Model {delivery.shadow} searches beside; its answers are logged and not shown.</p>
      )}
    </>
  );
}

function RunsTable({ runs, mlflowUrl }: { runs: Schemas["ModelRun"][]; mlflowUrl: string | null }) {
  const bounds = runs.flatMap((run) => (run.ndcg ? [run.ndcg.low, run.ndcg.high] : []));
  const scale = bounds.length > 0 ? { from: Math.min(...bounds), to: Math.max(...bounds) } : null;
  return (
    <ScrollTable label="Table of the trainings" className="panel">
      <table className="w-full min-w-[44rem] text-sm">
        <thead>
          <tr className="border-b border-line text-left text-xs text-soft *:px-4 *:py-2 *:font-medium">
            <th>Model</th>
            <th>Started</th>
            <th>NDCG</th>
            <th className="w-1/5">
              <span className="sr-only">Interval</span>
            </th>
            <th title="Mean reciprocal rank of Exact products in the whole catalogue, on held-out queries">
              Search MRR
            </th>
            <th className="text-right">Energy, kWh</th>
            <th>Blessed</th>
            <th>data.dvc</th>
            <th>Run</th>
          </tr>
        </thead>
        <tbody className="divide-y divide-line">
          {runs.map((run) => {
            const link = mlflowAddress(mlflowUrl, run.mlflow_path);
            return (
              <tr key={run.run_id} className={`*:px-4 *:py-2 ${run.serving ? "bg-accent-soft/50" : ""}`}>
                <th scope="row" className="text-left font-medium">
                  {run.model}
                  {run.rung && <span className="ml-2 text-xs font-normal text-soft">{run.rung}</span>}
                  {run.serving && (
                    <span className="ml-2 rounded-sm bg-accent px-1.5 py-0.5 text-xs text-on-accent">serving</span>
                  )}
                </th>
                <td className="whitespace-nowrap text-soft">{formatTime(run.started)}</td>
                <td className="whitespace-nowrap">
                  {run.ndcg ? (
                    <>
                      {run.ndcg.mean.toFixed(3)}{" "}
                      <span className="text-soft">
                        [{run.ndcg.low.toFixed(3)}, {run.ndcg.high.toFixed(3)}]
                      </span>
                    </>
                  ) : (
                    <span className="text-soft">none</span>
                  )}
                </td>
                <td>{run.ndcg && scale && <IntervalMark interval={run.ndcg} {...scale} />}</td>
                <td className="whitespace-nowrap">
                  {run.search_mrr === null ? (
                    <span className="text-soft">none</span>
                  ) : (
                    <>
                      {run.search_mrr.toFixed(3)}{" "}
                      {run.search_untrained_mrr !== null && (
                        <span className="text-soft">untrained {run.search_untrained_mrr.toFixed(3)}</span>
                      )}
                    </>
                  )}
                </td>
                <td className="text-right">
                  {run.energy_kwh === null ? <span className="text-soft">none</span> : run.energy_kwh.toPrecision(2)}
                </td>
                <td className={run.blessed ? "text-good-ink" : "text-soft"}>
                  {run.blessed === null ? "not evaluated" : run.blessed ? "yes" : "no"}
                </td>
                <td className="font-mono text-xs text-soft" title={run.data_hash ?? undefined}>
                  {run.data_hash ? short(run.data_hash, 8) : "none"}
                </td>
                <td className="font-mono text-xs" title={run.run_id}>
                  {link ? (
                    <a href={link} target="_blank" rel="noreferrer" className="link">
                      {short(run.run_id, 8)}
                    </a>
                  ) : (
                    short(run.run_id, 8)
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </ScrollTable>
  );
}
