// Command overload loads a server far beyond what it is set up for, holds thousands of idle and slow connections open,
// floods it, and checks that whoever is admitted is served as usual, the others are told to slow down, memory and
// descriptors stay below their caps, nothing acknowledged is lost, and that afterwards everything is as before.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// The load that the server is set up for, and ten times that.
	normalClients   = 64
	overloadClients = 10 * normalClients
	// How often the process is looked at.
	sampleInterval = 100 * time.Millisecond
	problemsShown  = 20
)

// Of the server's metrics, what is printed after each phase.
var shown = []string{
	"hafiz_http_connections", "hafiz_http_connections_evicted_total", "hafiz_http_connections_refused_total",
	"hafiz_http_slow_peers_cut_total", "hafiz_admission_refused_total", "hafiz_s3_requests_under_way",
	"hafiz_buffer_waiters", "hafiz_buffer_used_bytes",
}

type options struct {
	seconds time.Duration
	factor  float64
	idle    int
	slow    int
	seed    uint64
	only    string
	keep    bool
	// The server is many times slower and larger than it is: neither is looked at.
	sanitized bool
}

func main() {
	runtime.LockOSThread()
	var o options
	seconds := flag.Float64("seconds", 24, "of load, all phases together")
	flag.Float64Var(&o.factor, "factor", 3, "how much longer than at normal load the slowest percent of the admitted may take")
	flag.IntVar(&o.idle, "idle", 10_000, "idle sockets")
	flag.IntVar(&o.slow, "slow", 400, "slow clients of each sort")
	flag.Uint64Var(&o.seed, "seed", 1, "of what clients ask for")
	flag.BoolVar(&o.sanitized, "sanitized", false, "the server was built with a sanitizer: look at neither time nor memory")
	flag.StringVar(&o.only, "only", "", "phases whose name has this in it")
	flag.BoolVar(&o.keep, "keep", false, "keep the server's directory and log")
	selfTest := flag.Bool("self-test", false, "show that each violation is found")
	flag.Parse()
	o.seconds = time.Duration(*seconds * float64(time.Second))
	files, err := raiseFiles()
	if err != nil || files < uint64(o.idle)+2000 {
		fmt.Printf("overload: this process may open %d files only, for %d idle sockets: raise the hard limit\n", files, o.idle)
		os.Exit(1)
	}
	checks := []check{{"overload", overload}, {"few files", fewFiles}}
	if *selfTest {
		checks = selfTests()
	}
	passed, failed := 0, 0
	for _, each := range checks {
		problems := each.run(o)
		if len(problems) == 0 {
			passed++
			fmt.Printf("ok: %s\n", each.name)
			continue
		}
		failed++
		fmt.Printf("FAILED: %s\n", each.name)
		for n, problem := range problems {
			if n == problemsShown {
				fmt.Printf("    and %d more\n", len(problems)-n)
				break
			}
			fmt.Println("   ", problem)
		}
	}
	fmt.Printf("overload: %d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

type check struct {
	name string
	run  func(options) []string
}

// Looks at the process all the time; the largest of each is what counts.
type sampler struct {
	server  *server
	mutex   sync.Mutex
	peak    usage
	ending  chan struct{}
	working sync.WaitGroup
}

func sample(s *server) *sampler {
	all := &sampler{server: s, ending: make(chan struct{})}
	all.working.Go(func() {
		for {
			if now, err := s.usage(); err == nil {
				all.mutex.Lock()
				all.peak.residentMiB = max(all.peak.residentMiB, now.residentMiB)
				all.peak.files = max(all.peak.files, now.files)
				all.mutex.Unlock()
			}
			select {
			case <-all.ending:
				return
			case <-time.After(sampleInterval):
			}
		}
	})
	return all
}

func (s *sampler) end() usage {
	close(s.ending)
	s.working.Wait()
	return s.peak
}

// The phases beside the normal load, and who comes in each.
type attack struct {
	name    string
	clients int
	allowed []outcome
	isMixed bool
	join    func(*crowd, options)
	// Given time before the honest clients come.
	ahead time.Duration
}

func attacks() []attack {
	return []attack{
		{name: "ten times the load", clients: overloadClients, join: func(*crowd, options) {}},
		{name: "idle sockets", clients: normalClients, ahead: 2 * time.Second, join: func(c *crowd, o options) {
			c.join(o.idle, idle)
		}},
		{name: "slow senders", clients: normalClients, isMixed: true, ahead: time.Second, join: func(c *crowd, o options) {
			c.join(o.slow, slowHead)
			c.join(o.slow, slowBody)
			c.join(o.slow, slowSmallBody)
		}},
		{name: "slow readers", clients: normalClients, isMixed: true, ahead: time.Second, join: func(c *crowd, o options) {
			c.join(o.slow, slowReader)
			c.join(o.slow/4, halfClosed)
		}},
		{name: "floods", clients: normalClients, isMixed: true, allowed: []outcome{"400", "431"}, join: func(c *crowd, o options) {
			c.join(o.slow/20, pipeline)
			c.join(o.slow/20, hugeHead)
			c.join(o.slow/20, churn)
		}},
	}
}

func overload(o options) []string {
	s, err := launch(0)
	if err != nil {
		return []string{err.Error()}
	}
	defer s.remove(o.keep)
	chosen := slices.DeleteFunc(attacks(), func(each attack) bool { return !strings.Contains(each.name, o.only) })
	f := run(s, o, chosen)
	if o.sanitized {
		f.peak.residentMiB, f.settled.residentMiB, o.factor = 0, 0, math.Inf(1)
		for n := range f.phases {
			f.phases[n].isSlow = true
		}
	}
	return judge(f, o.factor)
}

func run(s *server, o options, attacks []attack) findings {
	l := &ledger{sizes: map[string]int{}}
	f := findings{}
	err := setUp(s.address(), l)
	if err == nil {
		f.problems = fill(s.address(), l)
		err = s.restart()
	}
	if err != nil {
		f.problems = append(f.problems, err.Error())
		f.normal, f.after = &measured{}, &measured{}
		return f
	}
	share := o.seconds / time.Duration(len(attacks)+2)
	samples := sample(s)
	f.normal = s.load("normal", o.seed, normalClients, share, l)
	show("normal load", f.normal)
	f.before, _ = s.usage()
	for n, each := range attacks {
		hostile, health := newCrowd(s.address()), newTally()
		prober := newCrowd(s.address())
		watchHealth(prober, health)
		each.join(hostile, o)
		time.Sleep(each.ahead)
		honest := s.load(fmt.Sprint("phase", n), o.seed+uint64(n)+1, each.clients, share, l)
		found := phase{name: each.name, honest: honest, allowed: each.allowed, isMixed: each.isMixed}
		prober.end()
		found.health = health.outcomes
		told, _ := s.metrics()
		found.hostile = hostile.end()
		f.phases = append(f.phases, found)
		show(each.name, honest)
		now, _ := s.usage()
		fmt.Printf("    hostile: %d connections, %v; health: %v; %d MiB, %d files\n", hostile.tally.opened.Load(),
			found.hostile, found.health, now.residentMiB, now.files)
		fmt.Print("    server:")
		for _, name := range shown {
			fmt.Printf(" %s %d", strings.TrimPrefix(name, "hafiz_"), told[name])
		}
		fmt.Println()
	}
	f.problems = append(f.problems, settle(s, &f)...)
	f.after = s.load("after", o.seed, normalClients, share, l)
	show("normal load afterwards", f.after)
	f.lost = readBack(s.address(), l)
	fmt.Printf("    %d objects read back, %d of them wrong\n", len(l.sizes), len(f.lost))
	f.problems = append(f.problems, settle(s, &f)...)
	f.peak = samples.end()
	fmt.Printf("    at most %d MiB and %d files; afterwards %d MiB and %d files, before %d and %d\n", f.peak.residentMiB,
		f.peak.files, f.settled.residentMiB, f.settled.files, f.before.residentMiB, f.before.files)
	f.ended = s.stop()
	return f
}

// A phase of honest load, with what the server counts of it.
func (s *server) load(name string, seed uint64, count int, seconds time.Duration, l *ledger) *measured {
	// Without an answer nothing is counted, which is a problem of its own.
	before, _ := s.metrics()
	found := load(s.address(), name, seed, count, seconds, l)
	after, _ := s.metrics()
	found.served = map[string]latency{}
	for _, operation := range operations {
		count, slow := after.histograms().since(before.histograms(), operation, percent)
		found.served[operation] = latency{count, slow}
	}
	return found
}

// Waits until the server has let go of all connections, and notes what it holds then.
func settle(s *server, f *findings) []string {
	deadline := time.Now().Add(settleMax)
	for {
		gauges, err := s.metrics()
		if err == nil {
			f.gauges = gauges
			f.settled, _ = s.usage()
			if gauges["hafiz_http_connections"] <= 1 && gauges["hafiz_s3_requests_under_way"] == 0 {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return []string{fmt.Sprintf("%v after the clients had left, %d connections and %d requests are there, error %v",
				settleMax, gauges["hafiz_http_connections"], gauges["hafiz_s3_requests_under_way"], err)}
		}
		time.Sleep(sampleInterval)
	}
}

func show(name string, m *measured) {
	fmt.Printf("%s: %d requests, %v\n   ", name, m.total(), m.outcomes)
	for k := range kinds {
		fmt.Printf(" %s %v/%v (%d)", kindNames[k], m.percentile(k, 50).Round(100*time.Microsecond),
			m.percentile(k, percent).Round(100*time.Microsecond), len(m.took[k]))
	}
	fmt.Println()
	if len(m.served) > 0 {
		fmt.Print("    server:")
		for _, operation := range operations {
			fmt.Printf(" %s %v (%d)", operation, m.served[operation].slow.Round(100*time.Microsecond), m.served[operation].count)
		}
		fmt.Println()
	}
}

// A server with few descriptors: more connections than it has descriptors for must not keep it from its files, nor
// make it spin, and it must recover.
func fewFiles(o options) []string {
	const (
		files      = 512
		sockets    = 1500
		spinning   = 2 * time.Second
		cpuPercent = 40
	)
	s, err := launch(files)
	if err != nil {
		return []string{err.Error()}
	}
	defer s.remove(o.keep)
	var problems []string
	l := &ledger{sizes: map[string]int{}}
	if err := setUp(s.address(), l); err != nil {
		return []string{err.Error()}
	}
	// Connected before the descriptors are gone: it must be served all along.
	kept := connection{address: s.address()}
	defer kept.close()
	put := func(n int) outcome {
		key := fmt.Sprintf("few/%d", n)
		found := kept.do(request{method: "PUT", key: key, size: largeBytes})
		if found == "200" {
			l.add(key, largeBytes)
		}
		return found
	}
	if found := put(0); found != "200" {
		problems = append(problems, fmt.Sprintf("a PUT before: %s", found))
	}
	hostile := newCrowd(s.address())
	hostile.join(sockets, idle)
	before, _ := s.usage()
	time.Sleep(spinning)
	after, _ := s.usage()
	if used := after.cpu - before.cpu; used > spinning*cpuPercent/100 {
		problems = append(problems, fmt.Sprintf("%v of CPU in %v without requests", used, spinning))
	}
	// Enough to open new volumes.
	for n := range 64 {
		if found := put(n + 1); found != "200" {
			problems = append(problems, fmt.Sprintf("PUT %d while there are no descriptors left: %s", n+1, found))
			break
		}
	}
	if found := ask(s.address(), "/livez"); found != "200" {
		problems = append(problems, fmt.Sprintf("/livez while there are no descriptors left: %s", found))
	}
	problems = append(problems, only("idle sockets", hostile.end(), nil)...)
	fmt.Printf("    %d files of %d, %v of CPU while idle\n", after.files, files, after.cpu-before.cpu)
	if after.files <= files/2 {
		problems = append(problems, fmt.Sprintf("%d files: the soft limit of %d was not raised", after.files, files/2))
	}
	kept.close()
	var f findings
	problems = append(problems, settle(s, &f)...)
	problems = append(problems, readBack(s.address(), l)...)
	if err := s.stop(); err != nil {
		problems = append(problems, err.Error())
	}
	slices.Sort(problems)
	return problems
}
