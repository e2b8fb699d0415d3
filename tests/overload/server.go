package main

// The server under test: a process with little memory, and what the system and the server itself say of it.

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hafiz/tests/signature"
)

const (
	drives   = 4
	startMax = 60 * time.Second
	stopMax  = 30 * time.Second
	logTail  = 2000
	// What the server is set up for, of its one shard.
	memoryMiB      = 96
	buffersMiB     = 64
	connectionsMax = 1024
	requestsMax    = 80
	// Short, so that a run sees them pass.
	headerTimeout = 3 * time.Second
	idleTimeout   = 5 * time.Second
	bodyWindow    = 4 * time.Second
	sendTimeout   = 4 * time.Second
)

var listening = regexp.MustCompile(`(?m)^listening on https?://\S+:(\d+)$`)

type server struct {
	place   string
	words   []string
	port    int
	command *exec.Cmd
	ended   chan error
}

// Starts a server. `files`: most files it may have open, 0 for what this process may. `more`: flags that win.
func launch(files int, more ...string) (*server, error) {
	place, err := os.MkdirTemp("", "hafiz-overload-")
	if err != nil {
		return nil, err
	}
	s := &server{place: place}
	flags := []string{
		"--address", "127.0.0.1:0", "--shards", "1", "--partitions", "8", "--metrics-open", "--log-level", "warn",
		"--memory", fmt.Sprintf("%dMiB", memoryMiB), "--buffers", fmt.Sprintf("%dMiB", buffersMiB),
		"--log-slot", "16MiB", "--data-slot", "32MiB",
		"--connections-max", strconv.Itoa(connectionsMax), "--requests-max", strconv.Itoa(requestsMax),
		"--header-timeout", headerTimeout.String(), "--idle-timeout", idleTimeout.String(),
		"--body-window", bodyWindow.String(), "--send-timeout", sendTimeout.String(),
	}
	given := map[string]bool{}
	for _, word := range more {
		given[word] = true
	}
	words := []string{os.Getenv("HAFIZ_BINARY"), "server"}
	for n := range drives {
		words = append(words, filepath.Join(place, fmt.Sprintf("drive%d", n+1)))
	}
	for n := 0; n < len(flags); n++ {
		isPair := n+1 < len(flags) && !strings.HasPrefix(flags[n+1], "--")
		if !given[flags[n]] {
			words = append(words, flags[n])
			if isPair {
				words = append(words, flags[n+1])
			}
		}
		if isPair {
			n++
		}
	}
	words = append(words, more...)
	if files > 0 {
		// The soft limit is half of the hard one: the server is expected to raise it.
		limit := fmt.Sprintf("ulimit -Sn %d && ulimit -Hn %d && exec \"$@\"", files/2, files)
		words = append([]string{"/bin/sh", "-c", limit, "sh"}, words...)
	}
	s.words = words
	if err := s.start(); err != nil {
		s.remove(false)
		return nil, err
	}
	return s, nil
}

// Ends the server in order and starts it again: everything is in tables and volumes then, and nothing in memory.
func (s *server) restart() error {
	if err := s.stop(); err != nil {
		return err
	}
	return s.start()
}

func (s *server) start() error {
	log, err := os.Create(s.log())
	if err != nil {
		return err
	}
	defer log.Close()
	s.command = exec.Command(s.words[0], s.words[1:]...)
	s.command.Stdout, s.command.Stderr = log, log
	// It ends with whoever has started it: with the thread, which main keeps.
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "HAFIZ_") {
			s.command.Env = append(s.command.Env, variable)
		}
	}
	s.command.Env = append(s.command.Env, "HAFIZ_ROOT_USER="+signature.User, "HAFIZ_ROOT_PASSWORD="+signature.Password)
	if err := s.command.Start(); err != nil {
		return err
	}
	command, ended := s.command, make(chan error, 1)
	s.ended = ended
	go func() { ended <- command.Wait() }()
	return s.wait()
}

func (s *server) log() string { return filepath.Join(s.place, "server.log") }

func (s *server) tail() string {
	text, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-logTail):])
}

func (s *server) wait() error {
	for deadline := time.Now().Add(startMax); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err := s.hasEnded(); err != nil {
			return err
		}
		text, err := os.ReadFile(s.log())
		if err != nil {
			return err
		}
		if found := listening.FindSubmatch(text); found != nil {
			s.port, err = strconv.Atoi(string(found[1]))
			return err
		}
	}
	return fmt.Errorf("the server does not listen after %v: %s", startMax, s.tail())
}

// An error when the server is not there any more.
func (s *server) hasEnded() error {
	select {
	case err := <-s.ended:
		s.ended <- err
		return fmt.Errorf("the server ended by itself: %v: %s", err, s.tail())
	default:
		return nil
	}
}

// Asks the server to end in order. An error when it does not.
func (s *server) stop() error {
	if err := s.hasEnded(); err != nil {
		return err
	}
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-s.ended:
		s.ended <- err
		return err
	case <-time.After(stopMax):
		return fmt.Errorf("the server did not end within %v", stopMax)
	}
}

func (s *server) remove(keep bool) {
	if s.hasEnded() == nil {
		s.command.Process.Kill()
		err := <-s.ended
		s.ended <- err
	}
	if keep {
		fmt.Println("    kept:", s.place)
	} else {
		os.RemoveAll(s.place)
	}
}

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// What the system says of the process.
type usage struct {
	residentMiB int
	files       int
	cpu         time.Duration
}

func (s *server) usage() (usage, error) {
	folder := fmt.Sprintf("/proc/%d", s.command.Process.Pid)
	status, err := os.ReadFile(folder + "/status")
	if err != nil {
		return usage{}, err
	}
	var found usage
	for line := range strings.Lines(string(status)) {
		if kib, is := strings.CutPrefix(line, "VmRSS:"); is {
			number, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")))
			if err != nil {
				return usage{}, err
			}
			found.residentMiB = number >> 10
		}
	}
	files, err := os.ReadDir(folder + "/fd")
	if err != nil {
		return usage{}, err
	}
	found.files = len(files)
	stat, err := os.ReadFile(folder + "/stat")
	if err != nil {
		return usage{}, err
	}
	// Behind the name: state is field 3, user and system time are 14 and 15, in hundredths of a second.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	found.cpu = time.Duration(user+system) * 10 * time.Millisecond
	return found, nil
}

// Operations whose latencies the server counts.
var operations = []string{"PutObject", "GetObject", "ListObjectsV2"}

// Latencies as the server counts them: requests up to each bound, by operation. Refused requests are not among them.
type histograms map[string]map[float64]int

func (m metrics) histograms() histograms {
	found := histograms{}
	for _, operation := range operations {
		prefix := fmt.Sprintf("hafiz_s3_request_seconds_bucket{op=%q,le=\"", operation)
		found[operation] = map[float64]int{}
		for name, value := range m {
			if text, is := strings.CutPrefix(name, prefix); is {
				bound, err := strconv.ParseFloat(strings.TrimSuffix(text, "\"}"), 64)
				if err == nil {
					found[operation][bound] = value
				}
			}
		}
	}
	return found
}

// What was counted since `before`, and the latency that `percent` of it stay below.
func (h histograms) since(before histograms, operation string, percent float64) (int, time.Duration) {
	bounds := slices.Sorted(maps.Keys(h[operation]))
	if len(bounds) == 0 {
		return 0, 0
	}
	grown := func(bound float64) int { return h[operation][bound] - before[operation][bound] }
	total := grown(bounds[len(bounds)-1])
	wanted, last, below := float64(total)*percent/100, 0.0, 0
	for _, bound := range bounds {
		if now := grown(bound); float64(now) >= wanted && now > below {
			if math.IsInf(bound, 1) {
				bound = 2 * last
			}
			share := (wanted - float64(below)) / float64(now-below)
			return total, time.Duration((last + share*(bound-last)) * float64(time.Second))
		}
		last, below = bound, grown(bound)
	}
	return total, 0
}

type metrics map[string]int

// The server's own metrics, labels and all.
func (s *server) metrics() (metrics, error) {
	client := http.Client{Timeout: answerMax, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + s.address() + "/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		io.Copy(io.Discard, answer.Body)
		return nil, fmt.Errorf("/metrics: %s", answer.Status)
	}
	values := metrics{}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 {
			continue
		}
		name, value := lines.Text()[:at], lines.Text()[at+1:]
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = int(number)
		}
	}
	return values, nil
}
