// How Go reads messages: one a line on standard input, one line of fields each on standard output.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

type meta struct {
	ProgressToken json.RawMessage `json:"progressToken"`
}

type params struct {
	Name          json.RawMessage `json:"name"`
	RequestID     json.RawMessage `json:"requestId"`
	ProgressToken json.RawMessage `json:"progressToken"`
	Meta          json.RawMessage `json:"_meta"`
}

type message struct {
	ID     json.RawMessage `json:"id"`
	Method json.RawMessage `json:"method"`
	Params json.RawMessage `json:"params"`
}

func shown(raw json.RawMessage) any {
	var text string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil
	case json.Unmarshal(raw, &text) == nil:
		return "s:" + text
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		return "n:" + string(raw)
	}
	return "other"
}

func read(line []byte) any {
	var m message
	if json.Unmarshal(line, &m) != nil {
		return nil
	}
	// What is no object has no members.
	var p params
	_ = json.Unmarshal(m.Params, &p)
	var inner meta
	_ = json.Unmarshal(p.Meta, &inner)
	return []any{
		shown(m.ID), shown(m.Method), shown(p.Name), shown(p.RequestID), shown(p.ProgressToken), shown(inner.ProgressToken),
	}
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		out, _ := json.Marshal(read(in.Bytes()))
		fmt.Println(string(out))
	}
}
