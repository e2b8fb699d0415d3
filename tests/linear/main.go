// Linear checks that single keys are linearizable while clients race for them and the server is killed and restarted.
//
//	tests/linear/run [--seconds S] [--runs R] [--seed X] [--clients N] [--keys K] [--report DIR] [--keep] [--self-test]
//
// Clients PUT (with and without conditions), copy onto, DELETE, GET and HEAD a few keys at once; what was asked and
// answered is recorded and each key's history is given to the checker of porcupine. An operation that was cut off may
// have happened or not, but only until the next start listens: nothing comes to light later. A history that the checker
// cannot decide counts as failed; with more than about eight clients for each key that comes about. Violations are drawn
// and written to the report folder.
// --self-test: a server that lies must be caught, for each kind of lie, and an honest one must pass.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

const problemsShown = 12

func main() {
	seconds := flag.Float64("seconds", 20, "length of a run")
	runs := flag.Int("runs", 1, "how many runs, each with a new deployment")
	seed := flag.Uint64("seed", 1, "repeats the choices of a run; the interleaving is not repeated")
	clients := flag.Int("clients", 16, "clients at once")
	keys := flag.Int("keys", 4, "keys at once")
	rotate := flag.Duration("rotate", 2*time.Second, "a new key takes the place of one that was in use for so long")
	opsMax := flag.Int("ops", 1500, "or for so many operations")
	timeout := flag.Duration("check", time.Minute, "longest check of one key")
	folder := flag.String("report", "target/linear", "where violations are written")
	keep := flag.Bool("keep", false, "keep the directories of failed runs")
	isSelfTest := flag.Bool("self-test", false, "prove that lies are caught")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "linear: unknown argument %s\n", flag.Arg(0))
		os.Exit(2)
	}
	s := settings{
		seconds: time.Duration(*seconds * float64(time.Second)), clients: *clients, keys: *keys, rotate: *rotate,
		opsMax: *opsMax, checkTimeout: *timeout, killMin: 300 * time.Millisecond, killMax: 3 * time.Second,
	}
	failed := 0
	if *isSelfTest {
		failed = selfTest(s, *seed)
	} else {
		failed = allRuns(s, os.Getenv("HAFIZ_BINARY"), *runs, *seed, *folder, *keep)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func allRuns(s settings, binary string, runs int, seed uint64, folder string, keep bool) int {
	failed, operations, unknowns, restarts, violations := 0, 0, 0, 0, 0
	for n := range runs {
		of := seed + uint64(n)
		server, err := newProcess(binary, rand.New(rand.NewPCG(of, 1<<32)))
		if err != nil {
			fmt.Println("linear:", err)
			return runs
		}
		found, err := run(s, server, of)
		isGood := err == nil && found.isGood()
		fmt.Printf("run %d (seed %d; %s): %s\n", n+1, of, server.describe(), found.line())
		if !isGood {
			failed++
			explain(found, err, filepath.Join(folder, fmt.Sprintf("seed-%d", of)))
			if keep {
				fmt.Println("    kept:", server.place)
			}
		}
		server.remove(keep && !isGood)
		operations, unknowns = operations+found.recorded, unknowns+found.unknown
		restarts, violations = restarts+found.restarts, violations+len(found.violations)
	}
	const totals = "linear: %d operations, %d unknown outcomes, %d restarts, %d violations\n"
	fmt.Printf(totals, operations, unknowns, restarts, violations)
	fmt.Printf("linear: %d passed, %d failed\n", runs-failed, failed)
	return failed
}

func explain(found *result, err error, folder string) {
	if err != nil {
		fmt.Println("    FAILED:", err)
	}
	for _, each := range found.violations {
		fmt.Println("    VIOLATION:", each.key)
	}
	for _, each := range found.undecided {
		fmt.Println("    UNDECIDED:", each.key)
	}
	for n, problem := range found.history.problems {
		if n == problemsShown {
			fmt.Printf("    and %d more\n", len(found.history.problems)-n)
			break
		}
		fmt.Println("    PROBLEM:", problem)
	}
	if len(found.violations)+len(found.undecided) == 0 {
		return
	}
	if err := report(folder, found.history, found.violations, found.undecided); err != nil {
		fmt.Println("    the report cannot be written:", err)
		return
	}
	fmt.Println("    written to", folder)
}
