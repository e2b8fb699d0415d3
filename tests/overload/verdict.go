package main

// What has to hold. Pure: the self-test hands it fabricated findings.

import (
	"fmt"
	"time"
)

const (
	// What the process may have in RAM beyond its budgets: code, task memory of a thousand connections, replies that are
	// rendered, what the allocator keeps.
	overheadMiB = 64
	// What the caches and memtables may have taken meanwhile; the rest must be given back.
	residentGrowthMax = memoryMiB
	// Descriptors beyond those of connections: rings, slots of open volumes, index tables.
	filesMax = connectionsMax + 512
	// Descriptors of volumes and tables that a phase's load opened.
	filesGrowthMax = 256
	// Latencies below this are noise, whatever their ratio.
	noise = 40 * time.Millisecond
	// Fewer requests of a kind have no percentile worth the name.
	samplesMin = 50
	percent    = 99
	// Requests that are served beside whatever attacks, in percent of those at normal load in the same time.
	servedMin = 20
	// How long the server may take to let go of connections that are gone or idle.
	settleMax = idleTimeout + headerTimeout + 5*time.Second
)

// One phase: what honest clients, hostile ones and the health checks saw.
type phase struct {
	name    string
	honest  *measured
	hostile map[outcome]int
	health  map[outcome]int
	// However few are served, it is not the server's fault.
	isSlow bool
	// Outcomes beside those that are always allowed.
	allowed []outcome
	// Hostile requests are among those that the server counts: only what honest clients measured tells something.
	isMixed bool
}

type findings struct {
	normal   *measured
	phases   []phase
	after    *measured
	peak     usage
	before   usage
	settled  usage
	gauges   map[string]int
	lost     []string
	ended    error
	problems []string
}

// What overload may look like from outside.
func isAllowed(each outcome, more []outcome) bool {
	switch each {
	case "200", "204", "206", "408", "503", closed, cut:
		return true
	}
	for _, other := range more {
		if each == other {
			return true
		}
	}
	return false
}

// By the server's own count, which does not depend on how soon a client gets to see its answer.
func slowerServed(name string, normal, now *measured, factor float64) []string {
	var problems []string
	for _, operation := range operations {
		before, after := normal.served[operation], now.served[operation]
		if before.count == 0 || after.count == 0 {
			problems = append(problems, fmt.Sprintf("%s: %d and %d of %s were counted", name, before.count, after.count,
				operation))
		} else if before.count < samplesMin || after.count < samplesMin {
			continue
		} else if after.slow > noise && float64(after.slow) > factor*float64(before.slow) {
			problems = append(problems, fmt.Sprintf("%s: %d%% of the admitted %s took the server %v, at normal load %v", name,
				percent, operation, after.slow.Round(time.Millisecond), before.slow.Round(time.Millisecond)))
		}
	}
	return problems
}

// By what clients saw, of what is small. Large bodies compete with the slow ones for buffers: how long they wait is
// bounded by the server, in seconds.
func slower(name string, normal, now *measured, factor float64) []string {
	var problems []string
	for _, k := range []kind{smallPut, smallGet, list} {
		if len(normal.took[k]) < samplesMin || len(now.took[k]) < samplesMin {
			continue
		}
		before, after := normal.percentile(k, percent), now.percentile(k, percent)
		if after > noise && float64(after) > factor*float64(before) {
			problems = append(problems, fmt.Sprintf("%s: %d%% of the admitted %ss took %v, at normal load %v", name, percent,
				kindNames[k], after.Round(time.Millisecond), before.Round(time.Millisecond)))
		}
	}
	return problems
}

func only(name string, outcomes map[outcome]int, more []outcome) []string {
	var problems []string
	for each, count := range outcomes {
		if !isAllowed(each, more) {
			problems = append(problems, fmt.Sprintf("%s: %d times %q", name, count, each))
		}
	}
	return problems
}

func undisturbed(name string, m *measured) []string {
	if m.good() == m.total() && m.total() > 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: not everything was served: %v", name, m.outcomes)}
}

// All that is wrong; nothing when all is well.
func judge(f findings, factor float64) []string {
	problems := append([]string(nil), f.problems...)
	if f.ended != nil {
		problems = append(problems, f.ended.Error())
	}
	problems = append(problems, undisturbed("normal load", f.normal)...)
	for _, p := range f.phases {
		problems = append(problems, only(p.name, p.honest.outcomes, nil)...)
		problems = append(problems, only(p.name+", hostile clients", p.hostile, p.allowed)...)
		if p.isMixed {
			problems = append(problems, slower(p.name, f.normal, p.honest, factor)...)
		} else {
			problems = append(problems, slowerServed(p.name, f.normal, p.honest, factor)...)
		}
		if least := f.normal.good() * servedMin / 100; p.honest.good() == 0 || p.honest.good() < least && !p.isSlow {
			problems = append(problems, fmt.Sprintf("%s: only %d requests were served, at normal load %d: %v", p.name,
				p.honest.good(), f.normal.good(), p.honest.outcomes))
		}
		if len(p.health) == 0 {
			problems = append(problems, p.name+": nobody asked for the server's health")
		}
		for each, count := range p.health {
			if each != "200" {
				problems = append(problems, fmt.Sprintf("%s: the health checks were answered %q %d times", p.name, each, count))
			}
		}
	}
	problems = append(problems, undisturbed("normal load afterwards", f.after)...)
	problems = append(problems, slowerServed("normal load afterwards", f.normal, f.after, factor)...)
	if most := memoryMiB + buffersMiB + overheadMiB; f.peak.residentMiB > most {
		problems = append(problems, fmt.Sprintf("%d MiB were resident, %d are allowed", f.peak.residentMiB, most))
	}
	if growth := f.settled.residentMiB - f.before.residentMiB; growth > residentGrowthMax {
		problems = append(problems, fmt.Sprintf("%d MiB more are resident than before", growth))
	}
	if f.peak.files > filesMax {
		problems = append(problems, fmt.Sprintf("%d files were open, %d are allowed", f.peak.files, filesMax))
	}
	if growth := f.settled.files - f.before.files; growth > filesGrowthMax {
		problems = append(problems, fmt.Sprintf("%d more files are open than before", growth))
	}
	for name, most := range map[string]int{
		// The one that asks for the metrics.
		"hafiz_http_connections":      1,
		"hafiz_s3_requests_under_way": 0,
		"hafiz_buffer_waiters":        0,
	} {
		if value, is := f.gauges[name]; !is || value > most {
			problems = append(problems, fmt.Sprintf("afterwards %s is %d, known: %v", name, value, is))
		}
	}
	return append(problems, f.lost...)
}
