// What the conformance fixture serves without asking back: tools, resources and prompts.

import { installedFull } from './installed.mjs';

const { ResourceTemplate, fromJsonSchema } = installedFull('@modelcontextprotocol/server');

// One red pixel, and a sound without samples.
const PNG =
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=';

const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
const text = (value) => ({ type: 'text', text: value });
const image = { type: 'image', data: PNG, mimeType: 'image/png' };
const audio = { type: 'audio', data: WAV, mimeType: 'audio/wav' };
const embedded = (uri, mimeType, value) => ({ type: 'resource', resource: { uri, mimeType, text: value } });

/** An object of required strings. */
export function strings(...names) {
    const properties = Object.fromEntries(names.map((name) => [name, { type: 'string' }]));
    return fromJsonSchema({ type: 'object', properties, required: names });
}

/** Tools whose answer is always the same. */
const CONSTANT = {
    test_simple_text: [text('This is a simple text response for testing.')],
    test_image_content: [image],
    test_audio_content: [audio],
    test_embedded_resource: [
        embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.'),
    ],
    test_multiple_content_types: [
        text('Multiple content types test:'),
        image,
        embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}'),
    ],
};

/** Has the keywords that a server must not lose; the suite looks at the list only. */
const FULL_SCHEMA = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    $defs: {
        address: {
            $anchor: 'addressDef',
            type: 'object',
            properties: { street: { type: 'string' }, city: { type: 'string' } },
        },
    },
    properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' },
    },
    allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
    if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
    then: { required: ['phone'] },
    else: { required: ['email'] },
    additionalProperties: false,
};

export function addContentTools(server) {
    const add = (name, description, inputSchema, run) =>
        server.registerTool(name, { description, inputSchema }, run);
    const none = strings();
    for (const [name, content] of Object.entries(CONSTANT)) {
        add(name, 'Answers the same always', none, () => ({ content }));
    }
    add('test_error_handling', 'Fails', none, () => {
        throw new Error('This tool intentionally returns an error for testing');
    });
    add('test_tool_with_logging', 'Logs while it runs', none, async (_, { mcpReq }) => {
        await mcpReq.log('info', 'Tool execution started');
        await pause();
        await mcpReq.log('info', 'Tool processing data');
        await pause();
        await mcpReq.log('info', 'Tool execution completed');
        return { content: [text('logged')] };
    });
    add('test_logging_tool', 'Logs if it was asked to', none, async (_, { mcpReq }) => {
        await mcpReq.log('info', 'running');
        return { content: [text('logged')] };
    });
    add('test_tool_with_progress', 'Tells its progress', none, async (_, { mcpReq }) => {
        const progressToken = mcpReq._meta?.progressToken;
        for (const progress of [0, 50, 100]) {
            const params = { progressToken, progress, total: 100 };
            if (progressToken !== undefined) await mcpReq.notify({ method: 'notifications/progress', params });
            await pause();
        }
        return { content: [text(String(progressToken))] };
    });
    add('test_reconnection', 'Closes its stream before it answers', none, async (_, { http }) => {
        http?.closeSSE?.();
        await pause();
        return { content: [text('Reconnection test completed.')] };
    });
    const full = fromJsonSchema(FULL_SCHEMA);
    add('json_schema_2020_12_tool', 'Has a full schema', full, () => ({ content: [text('ok')] }));
    // Not for the suite, but for the inspector.
    add('echo', 'Returns what it is given', strings('message'), ({ message: given }) => ({
        content: [text(`Echo: ${given}`)],
    }));
    const message = { type: 'string', 'x-mcp-header': 'Message' };
    const mirrored = fromJsonSchema({ type: 'object', properties: { message }, required: ['message'] });
    add('test_mirrored_argument', 'Wants its argument in a header, too', mirrored, (given) => ({
        content: [text(given.message)],
    }));
}

export function addResources(server) {
    const add = (name, uri, mimeType, content) =>
        server.registerResource(name, uri, { description: name, mimeType }, ({ href }) => ({
            contents: [{ uri: href, mimeType, ...content }],
        }));
    add('static-text', 'test://static-text', 'text/plain', {
        text: 'This is the content of the static text resource.',
    });
    add('static-binary', 'test://static-binary', 'image/png', { blob: PNG });
    add('watched', 'test://watched-resource', 'text/plain', { text: 'Watched resource content.' });

    const template = new ResourceTemplate('test://template/{id}/data', { list: undefined });
    const mimeType = 'application/json';
    server.registerResource('template', template, { description: 'By id', mimeType }, ({ href }, { id }) => {
        const data = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
        return { contents: [{ uri: href, mimeType, text: data }] };
    });

    // Taken, though nothing ever changes.
    server.server.setRequestHandler('resources/subscribe', () => ({}));
    server.server.setRequestHandler('resources/unsubscribe', () => ({}));
}

export function addPrompts(server) {
    const add = (name, argsSchema, run) =>
        server.registerPrompt(name, { description: name, argsSchema }, (given) => ({
            messages: run(given).map((content) => ({ role: 'user', content })),
        }));
    add('test_simple_prompt', strings(), () => [text('This is a simple prompt for testing.')]);
    add('test_prompt_with_arguments', strings('arg1', 'arg2'), ({ arg1, arg2 }) => [
        text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`),
    ]);
    add('test_prompt_with_embedded_resource', strings('resourceUri'), ({ resourceUri }) => [
        embedded(resourceUri, 'text/plain', 'Embedded resource content for testing.'),
        text('Please process the embedded resource above.'),
    ]);
    add('test_prompt_with_image', strings(), () => [image, text('Please analyze the image above.')]);

    server.server.setRequestHandler('completion/complete', () => ({
        completion: { values: ['test'], total: 1, hasMore: false },
    }));
}
