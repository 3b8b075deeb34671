import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const service = process.env.SERVICE_URL ?? "http://127.0.0.1:8000";
const apiPaths =
  "^/(v1|docs|predict|predict-image|search_[a-z_]+|products|features|feedback|experiments|facets|runs|version|healthz|readyz)(/|\\?|$)";

/** For a page on another host than the service: the folder it is served from, e.g. /shop/. See docs/deployment.md. */
const base = process.env.PAGE_BASE ?? "/";
if (!/^\/(.*\/)?$/.test(base)) throw new Error(`PAGE_BASE is ${base}; write it as /folder/`);

export default defineConfig({
  base,
  plugins: [react(), tailwindcss()],
  server: { host: "127.0.0.1", proxy: { [apiPaths]: service } },
  // The service's content security policy knows no data: fonts or scripts, so nothing is inlined.
  build: { target: "es2022", assetsInlineLimit: 0, reportCompressedSize: false },
});
