// The official TypeScript client at a server-everything behind a URL: node client.mjs URL
//
// Prints its counts as one line of JSON and exits with 0, or says what it missed and exits with 1.

import assert from 'node:assert/strict';
import { installed } from './installed.mjs';

const { Client } = installed('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = installed('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { McpError } = installed('@modelcontextprotocol/sdk/types.js');

const LARGE = 1 << 20;
/** Calls that need no model, no user and no network. Other tools are listed, but not called. */
const CALLS = {
    echo: { message: 'grüße' },
    'get-annotated-message': { messageType: 'success', includeImage: true },
    'get-env': {},
    'get-resource-links': { count: 3 },
    'get-resource-reference': { resourceType: 'Text', resourceId: 1 },
    'get-structured-content': { location: 'Chicago' },
    'get-sum': { a: 2, b: 40 },
    'get-tiny-image': {},
    'gzip-file-as-resource': { name: 'a.gz', data: 'data:text/plain;base64,aGVsbG8=', outputType: 'resource' },
    'trigger-long-running-operation': { duration: 0.2, steps: 2 },
    'toggle-simulated-logging': {},
    'toggle-subscriber-updates': {},
};
const counts = { client: 'typescript', tools: 0, called: 0, progress: 0, errors: 0, large_bytes: 0, cancelled: 0 };

const url = process.argv[2];
assert(url, 'usage: client.mjs URL');
const transport = new StreamableHTTPClientTransport(new URL(url));
const client = new Client({ name: 'interop', version: '1' });
const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options);

async function callEveryTool() {
    const { tools } = await client.listTools();
    counts.tools = tools.length;
    const names = tools.map((tool) => tool.name);
    for (const [name, args] of Object.entries(CALLS)) {
        assert(names.includes(name), `the list has ${name}`);
        const result = await call(name, args);
        assert(!result.isError, `${name} succeeds: ${JSON.stringify(result)}`);
        assert(result.content.length > 0, `${name} has content`);
        if (name === 'echo') assert.equal(result.content[0].text, 'Echo: grüße');
        if (name === 'get-sum') assert.match(result.content[0].text, /42/);
        if (name === 'get-structured-content') assert.equal(typeof result.structuredContent.temperature, 'number');
        counts.called += 1;
    }
}

async function progressIsInOrder() {
    const told = [];
    const onprogress = ({ progress, total }) => told.push([progress, total]);
    await call('trigger-long-running-operation', { duration: 1, steps: 10 }, { onprogress });
    // The last one and the result are read together, and callbacks run a little later.
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(told, Array.from({ length: 10 }, (_, at) => [at + 1, 10]), 'ten steps in order');
    counts.progress = told.length;
}

/** A failure comes as a result or as an error; which of them is the server's choice. */
async function failureOf(name, args) {
    try {
        const result = await call(name, args);
        assert(result.isError, `${name} fails: ${JSON.stringify(result)}`);
        return result.content[0].text;
    } catch (error) {
        assert(error instanceof McpError, `${name} fails by the protocol: ${error}`);
        return error.message;
    }
}

async function errorsAreTheServers() {
    assert.match(await failureOf('no-such-tool', {}), /no-such-tool/);
    assert.match(await failureOf('get-sum', { a: 'two' }), /-32602|invalid/i);
    const unknown = client.readResource({ uri: 'demo://no/such' });
    await assert.rejects(unknown, (error) => error instanceof McpError, 'an unknown resource is an error');
    counts.errors = 3;
}

async function largeResult() {
    const message = 'ä0123456789abcde'.repeat(LARGE / 16);
    const { content } = await call('echo', { message });
    assert(content[0].text === `Echo: ${message}`, 'a large text comes back unchanged');
    counts.large_bytes = Buffer.byteLength(content[0].text);
}

async function cancellation() {
    const abort = new AbortController();
    // Cancelled when its first progress shows that it runs.
    const onprogress = () => abort.abort('enough');
    const started = Date.now();
    const options = { signal: abort.signal, onprogress };
    const long = call('trigger-long-running-operation', { duration: 30, steps: 60 }, options);
    await assert.rejects(long, /enough/, 'a cancelled call ends with its reason');
    assert(Date.now() - started < 10_000, `a cancelled call ends soon, not after ${Date.now() - started} ms`);
    assert.equal((await call('echo', { message: 'on' })).content[0].text, 'Echo: on', 'the session goes on');
    counts.cancelled = 1;
}

async function session() {
    await client.connect(transport);
    await callEveryTool();
    await progressIsInOrder();
    await errorsAreTheServers();
    await largeResult();
    await cancellation();
    // A server over stdio has no session to end.
    const sessions = process.argv[3] === 'sessions';
    assert.equal(transport.sessionId !== undefined, sessions, 'a session where the server has them');
    if (sessions) await transport.terminateSession();
    await client.close();
}

try {
    await session();
    console.log(JSON.stringify(counts));
    process.exit(0);
} catch (error) {
    console.error(error);
    console.error('so far:', JSON.stringify(counts));
    process.exit(1);
}
