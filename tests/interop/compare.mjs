// Compares two result sets of the conformance suite check by check: node compare.mjs DIRECT SECOND [EXCUSES]
//
// Both are folders as `conformance server -o` fills them. Equal means the same checks in the same order with the same
// verdicts, and the same content seen by the suite, apart from what is new in every run. EXCUSES has lines `scenario
// kind reason` or `scenario/check kind reason`, where the kind `content` excuses no other verdict, and `verdict` both.
// Exits with 1 if something differs without an excuse.

import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';

/** Members that differ from run to run, or that describe a connection and not what went through it. */
const VOLATILE = new Set(['contentType', 'elapsedMs', 'eventId', 'headers', 'lastEventId', 'lastEventIdUsed']);
for (const name of ['requestState', 'serverUrl', 'sessionId', 'sessionIdSent', 'subscriptionId', 'timestamp', 'url']) {
    VOLATILE.add(name);
}

const scenarioOf = (folder) => folder.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT[\d-]+Z$/, '');
const verdict = (check) => (check ? check.status : 'absent');

/** The value without what is volatile. */
function stable(value) {
    if (Array.isArray(value)) return value.map(stable);
    if (value === null || typeof value !== 'object') {
        return typeof value === 'string' ? value.replace(/127\.0\.0\.1:\d+/g, 'HOST') : value;
    }
    const kept = Object.entries(value).filter(([name]) => !VOLATILE.has(name) && !name.includes('subscriptionId'));
    return Object.fromEntries(kept.map(([name, inner]) => [name, stable(inner)]));
}

/** Scenario to checks, each under a name of its own: those that share one get `#2` and so on behind it. */
function results(folder) {
    const found = new Map();
    for (const entry of readdirSync(folder).sort()) {
        const file = path.join(folder, entry, 'checks.json');
        const checks = new Map();
        for (const check of JSON.parse(readFileSync(file, 'utf8'))) {
            let name = check.id;
            for (let again = 2; checks.has(name); again += 1) name = `${check.id}#${again}`;
            checks.set(name, check);
        }
        found.set(scenarioOf(entry), checks);
    }
    return found;
}

/** Scenario or check to the kind of its excuse. */
function excuses(file) {
    const lines = file ? readFileSync(file, 'utf8').split('\n') : [];
    const real = lines.map((line) => line.trim()).filter((line) => line && !line.startsWith('#'));
    return new Map(real.map((line) => line.split(/\s+/, 2)));
}

const [direct, second] = process.argv.slice(2, 4).map(results);
const excused = excuses(process.argv[4]);
const used = new Set();
const count = { scenarios: direct.size, checks: 0, passed: 0, failed: 0, equal: 0, excused: 0, different: 0 };

function compare(scenario, name, one, other) {
    count.checks += 1;
    if (verdict(one) === 'SUCCESS') count.passed += 1;
    if (verdict(one) === 'FAILURE') count.failed += 1;
    const sameVerdict = verdict(one) === verdict(other);
    if (sameVerdict && isDeepStrictEqual(stable(one.details), stable(other.details))) {
        count.equal += 1;
        return;
    }
    const kinds = sameVerdict ? ['content', 'verdict'] : ['verdict'];
    const excuse = [`${scenario}/${name}`, scenario].find((key) => kinds.includes(excused.get(key)));
    if (excuse) used.add(excuse);
    count[excuse ? 'excused' : 'different'] += 1;
    console.log(`${excuse ? 'excused  ' : 'different'} ${scenario}/${name}: ${verdict(one)}, then ${verdict(other)}`);
    if (excuse) return;
    if (other?.errorMessage) console.log(`    ${other.errorMessage}`);
    if (!sameVerdict) return;
    console.log(`    1: ${JSON.stringify(stable(one.details)).slice(0, 500)}`);
    console.log(`    2: ${JSON.stringify(stable(other.details)).slice(0, 500)}`);
}

for (const scenario of new Set([...direct.keys(), ...second.keys()])) {
    const [ones, others] = [direct, second].map((set) => set.get(scenario) ?? new Map());
    for (const name of new Set([...ones.keys(), ...others.keys()])) {
        compare(scenario, name, ones.get(name), others.get(name));
    }
}
for (const key of excused.keys()) {
    const [scenario] = key.split('/');
    if (direct.has(scenario) && !used.has(key)) console.log(`unneeded  ${key}: nothing differs`);
}
console.log(JSON.stringify(count));
process.exit(count.different === 0 ? 0 : 1);
