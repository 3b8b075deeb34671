import type { Schemas } from "../api/client";

const ROWS: { key: keyof Schemas["Versions"]; text: string }[] = [
  { key: "model_name", text: "model" },
  { key: "model", text: "model version" },
  { key: "mlflow_run_id", text: "MLflow run" },
  { key: "feature_service", text: "feature service" },
  { key: "feature_contract", text: "feature contract" },
  { key: "data_hash", text: "data.dvc" },
  { key: "git_commit", text: "commit" },
  { key: "encoder", text: "encoder" },
  { key: "index", text: "product index" },
];

/** The versions behind an answer: model, data, code. */
export function Lineage({ versions }: { versions: Schemas["Versions"] }) {
  return (
    <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
      {ROWS.map(({ key, text }) => (
        <div key={key} className="contents">
          <dt className="text-soft">{text}</dt>
          <dd className="min-w-0 font-mono text-xs leading-[1.2rem] break-all">
            {versions[key] ?? <span className="font-sans text-soft">not known</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
