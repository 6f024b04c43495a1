// Looks at the operator's page of tunnels in every state, as people do: pages.mjs [STATE...]
//
// Fails when axe finds a violation, when the page scrolls sideways, loads or runs anything, or leaves one of the six
// questions of an operator without an answer. Screenshots are for a person to look at.

import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const SCREENSHOTS = "target/screenshots";
const BYTES_MAX = 100 * 1024;
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

const PHONE = { name: "390", width: 390, height: 844 };
const DESK = { name: "1600", width: 1600, height: 1000 };
// A4 at the 96 pixels an inch of style sheets, less the usual margins.
const PAPER = { name: "print", width: 718, height: 1047, media: "print" };
const LOOKS = [
    { ...PHONE, scheme: "light" },
    { ...PHONE, scheme: "dark" },
    { ...DESK, scheme: "light" },
    { ...DESK, scheme: "dark" },
    { ...PAPER, scheme: "light" },
];

const require = createRequire(new URL("../../target/browser/package.json", import.meta.url));
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

// What each state must say, by the element that says it.
const SAYS = {
    healthy: { "#verdict": /ready|healthy/i, "#slow": /main|files/, "#policy": /get_\*/, "#certificates": /30 days|29 days/ },
    idle: { "#verdict": /ready|healthy/i, "#slow": /no call/i, "#last-failure": /no|none/i, "#policy": /get_\*/ },
    degraded: { "#verdict": /not|degraded|down/i, "#plane": /401|refused|key/i, "#channel-files": /down|ended|fail/i, "#last-failure": /purge_delete|get_broken|read_file/ },
    busy: { "#slow": /slow,/, "#channel-slow": /4 running/, "#last-failure": /get_broken/ },
    full: { "#last-failure": /./ },
};

// Six questions: is it healthy, since when, which server is slow; why did the last call fail, when does the certificate
// end, what may the model call. The first three are answered on the first screen.
const ANSWERS = [
    { element: "#verdict", says: /\w/, first: true },
    { element: "#since", says: /\d/, first: true },
    { element: "#slow", says: /p95|no call/i, first: true },
    { element: "#last-failure", says: /\w/ },
    { element: "#certificates", says: /days|certificate/i },
    { element: "#policy", says: /\w/ },
];

// Tunnels in every state, from the suite; they are there until standard input ends.
async function held() {
    const command = ["test", "--locked", "--test", "suite", "--", "--ignored", "--nocapture", "--exact", "browser::states_are_held"];
    const suite = spawn("cargo", command, { stdio: ["pipe", "pipe", "inherit"] });
    const ended = new Promise((resolve) => suite.on("exit", resolve));
    const states = [];
    for await (const line of createInterface({ input: suite.stdout })) {
        if (line === '"held"') {
            suite.stdout.resume();
            return { states, end: () => (suite.stdin.end(), ended) };
        }
        if (line.startsWith("{")) states.push(JSON.parse(line));
    }
    throw new Error(`the tunnels did not come up: exit code ${await ended}`);
}

// What is wrong with one look at one page.
async function look(browser, { state, url }, { name, width, height, scheme, media }) {
    const faults = [];
    const page = await browser.newPage();
    page.on("console", (message) => faults.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => faults.push(`script: ${error.message}`));
    page.on("request", (request) => request.url() === url || faults.push(`loads ${request.url()}`));
    await page.setViewport({ width, height, deviceScaleFactor: 1, isMobile: width < 600, hasTouch: width < 600 });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    // Last: what comes after it takes it back.
    if (media) await page.emulateMediaType(media);
    const reply = await page.goto(url, { waitUntil: "load" });
    const bytes = (await reply.buffer()).length;
    if (reply.status() !== 200) faults.push(`status ${reply.status()}`);
    if (bytes >= BYTES_MAX) faults.push(`${bytes} bytes`);
    await page.screenshot({ path: `${SCREENSHOTS}/${state}-${name}${media ? "" : `-${scheme}`}.png`, fullPage: true });

    const [scrolled, shown, scripts] = await page.evaluate(() => {
        const root = document.scrollingElement;
        return [root.scrollWidth, root.clientWidth, document.scripts.length];
    });
    if (scrolled > shown) faults.push(`scrolls sideways: ${scrolled} of ${shown} pixels`);
    if (scripts > 0) faults.push(`${scripts} scripts`);
    if (!media) faults.push(...(await unanswered(page, state, height)));
    // By the debugger, which the page's policy does not bind.
    await page.evaluate(axe);
    const { violations } = await page.evaluate((values) => window.axe.run({ runOnly: { type: "tag", values } }), RULES);
    for (const { id, nodes } of violations) {
        faults.push(`axe: ${id}: ${nodes[0].target.join(" ")} (${nodes.length}): ${nodes[0].any[0]?.message ?? nodes[0].failureSummary}`);
    }
    await page.close();
    return [...new Set(faults)].map((fault) => `${state} ${name} ${scheme}: ${fault}`);
}

// Questions that the page leaves open.
async function unanswered(page, state, height) {
    const faults = [];
    const texts = async (element) =>
        page.$$eval(element, (found) => found.map((one) => [one.textContent, one.getBoundingClientRect().bottom, one.checkVisibility()]));
    for (const { element, says, first } of ANSWERS) {
        const good = (await texts(element)).filter(([text, , visible]) => visible && says.test(text));
        if (good.length === 0) faults.push(`no answer in ${element}`);
        else if (first && !good.some(([, bottom]) => bottom <= height)) faults.push(`${element} is not on the first screen`);
    }
    for (const [element, says] of Object.entries(SAYS[state])) {
        const found = await texts(element);
        if (!found.some(([text]) => says.test(text))) faults.push(`${element} does not say ${says}: ${found[0]?.[0]}`);
    }
    return faults;
}

const wanted = process.argv.slice(2);
rmSync(SCREENSHOTS, { recursive: true, force: true });
mkdirSync(SCREENSHOTS, { recursive: true });
const tunnels = await held();
// There is one page that it visits, which is ours; in a container it has no sandbox of its own.
const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox"],
    protocolTimeout: 60_000,
});
const faults = [];
let looks = 0;
try {
    for (const state of tunnels.states.filter(({ state }) => wanted.length === 0 || wanted.includes(state))) {
        for (const one of LOOKS) {
            faults.push(...(await look(browser, state, one).catch((error) => [`${state.state} ${one.name}: ${error.message}`])));
            looks += 1;
        }
    }
} finally {
    await browser.close();
    await tunnels.end();
}
faults.forEach((fault) => console.log(fault));
console.log(`${looks} looks at the page, ${faults.length} faults; screenshots are in ${SCREENSHOTS}`);
process.exit(faults.length || looks === 0 ? 1 : 0);
