package main

// Shows that each violation is found: in fabricated findings, in bytes that are wrong, and in a server whose limits are
// taken away.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Findings as a good server gives them.
func truth() findings {
	good := func(slow time.Duration, outcomes map[outcome]int) *measured {
		m := &measured{outcomes: outcomes, served: map[string]latency{}}
		for k := range kinds {
			for range 2 * samplesMin {
				m.took[k] = append(m.took[k], slow)
			}
		}
		for _, operation := range operations {
			m.served[operation] = latency{2 * samplesMin, slow}
		}
		return m
	}
	slow := 2 * noise
	p := func(name string, isMixed bool) phase {
		return phase{
			name: name, honest: good(2*slow, map[outcome]int{"200": 90, "503": 10}), isMixed: isMixed,
			hostile: map[outcome]int{"408": 1, closed: 1}, health: map[outcome]int{"200": 9},
		}
	}
	return findings{
		normal: good(slow, map[outcome]int{"200": 100}),
		phases: []phase{p("load", false), p("slow", true)},
		after:  good(slow, map[outcome]int{"200": 100}),
		peak:   usage{residentMiB: memoryMiB, files: connectionsMax},
		before: usage{residentMiB: memoryMiB, files: 50}, settled: usage{residentMiB: memoryMiB, files: 60},
		gauges: map[string]int{"hafiz_http_connections": 1, "hafiz_s3_requests_under_way": 0, "hafiz_buffer_waiters": 0},
	}
}

// What each violation makes of the truth.
var fabrications = map[string]func(*findings){
	"an internal error":                 func(f *findings) { f.phases[0].honest.outcomes["500"] = 1 },
	"a refusal that says not when":      func(f *findings) { f.phases[0].honest.outcomes["503 without Retry-After"] = 1 },
	"a request without an answer":       func(f *findings) { f.phases[0].honest.outcomes[noAnswer] = 1 },
	"wrong bytes":                       func(f *findings) { f.phases[1].honest.outcomes[wrong] = 1 },
	"an odd answer to a hostile client": func(f *findings) { f.phases[1].hostile["431"] = 1 },
	"hardly anyone served":              func(f *findings) { f.phases[0].honest.outcomes["200"] = servedMin - 1 },
	"a health check refused":            func(f *findings) { f.phases[0].health["503"] = 1 },
	"nobody asked for health":           func(f *findings) { f.phases[0].health = nil },
	"a refusal at normal load":          func(f *findings) { f.normal.outcomes["503"] = 1 },
	"a refusal afterwards":              func(f *findings) { f.after.outcomes["503"] = 1 },
	"the admitted wait, says the server": func(f *findings) {
		f.phases[0].honest.served["PutObject"] = latency{2 * samplesMin, 7 * noise}
	},
	"the admitted wait, say clients": func(f *findings) {
		f.phases[1].honest.took[smallGet] = append(f.phases[1].honest.took[smallGet], 9*noise, 9*noise, 9*noise)
	},
	"slower afterwards": func(f *findings) { f.after.served["GetObject"] = latency{2 * samplesMin, 7 * noise} },
	"nothing counted":   func(f *findings) { delete(f.after.served, "GetObject") },
	"memory beyond its cap": func(f *findings) {
		f.peak.residentMiB = memoryMiB + buffersMiB + overheadMiB + 1
	},
	"memory that is kept": func(f *findings) { f.settled.residentMiB += residentGrowthMax + 1 },
	"too many files":      func(f *findings) { f.peak.files = filesMax + 1 },
	"files that are kept": func(f *findings) { f.settled.files += filesGrowthMax + 1 },
	"connections kept":    func(f *findings) { f.gauges["hafiz_http_connections"] = 2 },
	"a place kept":        func(f *findings) { f.gauges["hafiz_s3_requests_under_way"] = 1 },
	"a gauge that is gone": func(f *findings) {
		delete(f.gauges, "hafiz_buffer_waiters")
	},
	"a lost object":       func(f *findings) { f.lost = []string{"k"} },
	"a server that ended": func(f *findings) { f.ended = errors.New("ended") },
}

func selfTests() []check {
	found := func(problems []string) []string {
		if len(problems) > 0 {
			return nil
		}
		return []string{"not found"}
	}
	checks := []check{{"the truth", func(o options) []string { return judge(truth(), 3) }}}
	for name, fabricate := range fabrications {
		checks = append(checks, check{name, func(o options) []string {
			f := truth()
			fabricate(&f)
			return found(judge(f, 3))
		}})
	}
	return append(checks,
		check{"a flipped bit", func(o options) []string { return flipped(func(body []byte) { body[5000] ^= 1 }) }},
		check{"the bytes as they were", func(o options) []string {
			if problems := flipped(func([]byte) {}); len(problems) == 0 {
				return []string{"taken for wrong"}
			}
			return nil
		}},
		check{"a 503 without Retry-After", func(o options) []string {
			if read := named(&http.Response{StatusCode: 503, Header: http.Header{}}, nil); read == "503" {
				return []string{"taken for a good one"}
			}
			return nil
		}},
		check{"a server without limits", func(o options) []string {
			s, err := launch(0, "--requests-max", "100000")
			if err != nil {
				return []string{err.Error()}
			}
			defer s.remove(o.keep)
			f := run(s, o, attacks()[:1])
			fmt.Println("   ", strings.Join(judge(f, 3), "\n    "))
			return found(judge(f, 3))
		}})
}

// Nothing when `change` is noticed.
func flipped(change func([]byte)) []string {
	body, err := io.ReadAll(content("k", largeBytes))
	if err != nil {
		return []string{err.Error()}
	}
	change(body)
	if outcomeOf(verify(bytes.NewReader(body), "k", largeBytes)) != wrong {
		return []string{"not found"}
	}
	return nil
}
