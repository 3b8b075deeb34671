/** The real service and a real browser, started and ended by the tests themselves. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";

const READY_MS = 90_000;
const CHECKOUT = join(import.meta.dirname, "..", "..");
const SERVE = ["python", "-m", "sqidflow.cli", "serve", "--port", "{port}"];
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
// The browser is not to call home: the tests have no network and need none.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
];

export function browserProgram(): string {
  const program = process.env.CHROMIUM || BROWSERS.find((path) => existsSync(path));
  if (!program)
    throw new Error("no Chromium: install it (make test-web does on Debian) or set CHROMIUM to its program");
  return program;
}

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: browserProgram(), headless: true, args: FLAGS });
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        address && typeof address === "object" ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}

/** What starts the service: E2E_SERVER, a JSON list of words in which "{port}" stands for the port, or this checkout's. */
function command(port: number): string[] {
  const words = process.env.E2E_SERVER ? (JSON.parse(process.env.E2E_SERVER) as string[]) : SERVE;
  return words.map((word) => word.replace("{port}", String(port)));
}

export class Service {
  private process: ChildProcess | undefined;
  private output = "";
  private constructor(readonly port: number) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  static async start(): Promise<Service> {
    const service = new Service(await freePort());
    await service.up();
    return service;
  }

  private get runs(): boolean {
    return this.process !== undefined && this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Starts it on its port and waits until it is ready; does nothing where it runs. */
  async up(): Promise<void> {
    if (this.runs) return;
    const [program = "", ...words] = command(this.port);
    const child = spawn(program, words, { cwd: CHECKOUT, stdio: ["ignore", "pipe", "pipe"], detached: true });
    this.process = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (part: Buffer) => {
        this.output = (this.output + part).slice(-4000);
      });
    const until = Date.now() + READY_MS;
    while (Date.now() < until) {
      if (child.exitCode !== null) break;
      const ready = await fetch(`${this.url}/readyz`).then(
        (answer) => answer.ok,
        () => false,
      );
      if (ready) return;
      await new Promise((later) => setTimeout(later, 100));
    }
    throw new Error(`the service did not come up:\n${this.output}`);
  }

  /** Ends it as a power cut would. */
  async down(): Promise<void> {
    const child = this.process;
    if (!child?.pid || !this.runs) return;
    const gone = new Promise((done) => child.once("exit", done));
    process.kill(-child.pid, "SIGKILL");
    await gone;
  }
}
