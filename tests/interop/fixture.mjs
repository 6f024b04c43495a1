// The server that the conformance suite asks for, in both eras: node fixture.mjs
//
// Listens on a free port of loopback and prints its URL as the first line. Names and texts are the suite's.

import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { installedFull } from './installed.mjs';
import { addContentTools, addPrompts, addResources } from './fixture_content.mjs';
import { addInputTools, state } from './fixture_input.mjs';

const mcp = installedFull('@modelcontextprotocol/server');
const { localhostHostValidation, localhostOriginValidation, toNodeHandler } = installedFull('@modelcontextprotocol/node');

const capabilities = {
    tools: { listChanged: true },
    resources: { listChanged: true, subscribe: true },
    prompts: { listChanged: true },
    logging: {},
    completions: {},
};

/** A server of its own for every session, and in the newer era for every request. */
function server() {
    const info = { name: 'conformance-fixture', version: '1' };
    const hint = { ttlMs: 1000, cacheScope: 'public' };
    const lists = ['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'resources/read'];
    const cacheHints = Object.fromEntries(lists.map((method) => [method, hint]));
    const made = new mcp.McpServer(info, { capabilities, cacheHints, requestState: { verify: state.verify } });
    addContentTools(made);
    addInputTools(made);
    addChangeTools(made);
    addResources(made);
    addPrompts(made);
    return made;
}

/** Tools that pretend that a list changed. Whoever subscribed hears of it, in whichever server. */
function addChangeTools(made) {
    const tell = { tool: () => modern.notify.toolsChanged(), prompt: () => modern.notify.promptsChanged() };
    for (const [kind, changed] of Object.entries(tell)) {
        made.registerTool(`test_trigger_${kind}_change`, { description: `Says that a ${kind} changed` }, () => {
            changed();
            return { content: [{ type: 'text', text: 'said' }] };
        });
    }
}

/** What a session has sent, so that a client that lost its stream can ask for the rest. */
function eventStore() {
    const events = [];
    return {
        async storeEvent(stream, message) {
            events.push({ stream, message });
            return `${events.length - 1}`;
        },
        async getStreamIdForEventId(id) {
            return events[Number(id)]?.stream;
        },
        async replayEventsAfter(id, { send }) {
            const { stream } = events[Number(id)];
            for (let at = Number(id) + 1; at < events.length; at += 1) {
                const { stream: other, message } = events[at];
                // The event that opens a stream is no message.
                if (other === stream && message.jsonrpc) await send(`${at}`, message);
            }
            return stream;
        },
    };
}

const sessions = new Map();

async function openSession() {
    const transport = new mcp.WebStandardStreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        eventStore: eventStore(),
        retryInterval: 500,
        onsessioninitialized: (id) => void sessions.set(id, transport),
        onsessionclosed: (id) => void sessions.delete(id),
    });
    await server().connect(transport);
    return transport;
}

function refuse(status, message) {
    return Response.json({ jsonrpc: '2.0', id: null, error: { code: -32000, message } }, { status });
}

async function legacy(request, options) {
    const id = request.headers.get('mcp-session-id');
    if (id && !sessions.has(id)) return refuse(404, 'Session not found');
    if (!id && request.method !== 'POST') return refuse(400, 'A session is needed');
    const transport = id ? sessions.get(id) : await openSession();
    return transport.handleRequest(request, options);
}

const modern = mcp.createMcpHandler(server, { legacy: 'reject' });
const handler = toNodeHandler({
    fetch: async (request, options) =>
        (await mcp.isLegacyRequest(request, options?.parsedBody))
            ? legacy(request, options)
            : modern.fetch(request, options),
});
const host = localhostHostValidation();
const origin = localhostOriginValidation();

const front = createServer((request, response) => {
    if (host(request, response) && origin(request, response)) handler(request, response);
});
front.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${front.address().port}/mcp`));
