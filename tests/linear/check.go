package main

// The model of one key and the checker over its history.

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// The register with conditions that a key is. An operation whose outcome is unknown may have happened or not, so a step
// can lead to two states.
var model = func() porcupine.Model {
	register := porcupine.NondeterministicModel{
		Init: func() []any { return []any{value{}} },
		Step: func(state, in, out any) []any {
			var states []any
			for _, next := range step(state.(value), in.(input), out.(output)) {
				states = append(states, next)
			}
			return states
		},
		Hash:              func(state any) uint64 { return uint64(state.(value).ID) * 0x9e3779b97f4a7c15 },
		DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
		DescribeState:     func(state any) string { return state.(value).describe() },
	}
	return register.ToModel()
}()

// The states that a key may be in after this operation; none if it cannot have been answered so.
func step(state value, in input, out output) []value {
	if in.Kind <= head {
		if out.Reads != state {
			return nil
		}
		return []value{state}
	}
	holds := true
	switch in.Condition {
	case always:
	case ifAbsent:
		holds = state == value{}
	case ifMatch:
		holds = state != value{} && state.Etag == in.Match
	}
	switch out.Outcome {
	case done:
		if holds {
			return []value{in.Writes}
		}
	case failed:
		if !holds && state != (value{}) {
			return []value{state}
		}
	case absent:
		if in.Condition == ifMatch && state == (value{}) {
			return []value{state}
		}
	case unknown:
		if holds {
			return []value{state, in.Writes}
		}
		return []value{state}
	case nothing:
		return []value{state}
	}
	return nil
}

func (v value) describe() string {
	if v == (value{}) {
		return "absent"
	}
	return fmt.Sprintf("%d %.9s", v.ID, v.Etag)
}

func describe(in input, out output) string {
	if in.Kind <= head {
		return fmt.Sprintf("%s -> %s", kindNames[in.Kind], out.Reads.describe())
	}
	when := []string{"", " if absent", " if " + in.Match}[in.Condition]
	return fmt.Sprintf("%s %s%s -> %s", kindNames[in.Kind], in.Writes.describe(), when, outcomeNames[out.Outcome])
}

type verdict struct {
	key    string
	result porcupine.CheckResult
	info   porcupine.LinearizationInfo
}

// Checks every key's history, several at a time. Returns those that are not linearizable, and those that the checker
// could not decide in time.
func check(h *history, timeout time.Duration) (violations, undecided []verdict) {
	names := make(chan string)
	verdicts := make(chan verdict)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for key := range names {
				verdicts <- checkKey(key, h.keys[key], timeout)
			}
		})
	}
	go func() {
		for key := range h.keys {
			names <- key
		}
		close(names)
		workers.Wait()
		close(verdicts)
	}()
	for each := range verdicts {
		switch each.result {
		case porcupine.Ok:
		case porcupine.Illegal:
			violations = append(violations, each)
		default:
			undecided = append(undecided, each)
		}
	}
	sort.Slice(violations, func(a, b int) bool { return violations[a].key < violations[b].key })
	return violations, undecided
}

// The picture costs memory, so it is made in a second pass, of histories that are wrong only.
func checkKey(key string, operations []operation, timeout time.Duration) verdict {
	events := make([]porcupine.Operation, len(operations))
	for n, each := range operations {
		events[n] = porcupine.Operation{
			ClientId: each.Client, Input: each.In, Call: each.Call, Output: each.Out, Return: each.Return,
		}
	}
	found := verdict{key: key, result: porcupine.CheckOperationsTimeout(model, events, timeout)}
	if found.result == porcupine.Illegal {
		_, found.info = porcupine.CheckOperationsVerbose(model, events, timeout)
	}
	return found
}

// Writes the histories, and a picture of each one that is wrong, and says where.
func report(folder string, h *history, violations, undecided []verdict) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, each := range append(violations, undecided...) {
		name := filepath.Join(folder, strings.ReplaceAll(each.key, "/", "-"))
		file, err := os.Create(name + ".jsonl")
		if err != nil {
			return err
		}
		lines := json.NewEncoder(file)
		for _, operation := range h.keys[each.key] {
			if err := lines.Encode(operation); err != nil {
				return err
			}
		}
		if err := file.Close(); err != nil {
			return err
		}
		if each.result == porcupine.Illegal {
			if err := porcupine.VisualizePath(model, each.info, name+".html"); err != nil {
				return err
			}
		}
	}
	return nil
}
