package main

// The server under test: a process on directories of its own that is killed and started again.

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"hafiz/tests/signature"
)

const (
	drives       = 6
	startMax     = 60 * time.Second
	pollInterval = 2 * time.Millisecond
	logTail      = 2000
)

var (
	listening = regexp.MustCompile(`(?m)^listening on https?://\S+:(\d+)$`)
	// A panic, or an assert that failed.
	panicked = regexp.MustCompile(`panicked at`)
)

// What is killed and started again. The one of process is real; `liar` plants violations.
type server interface {
	launch() error
	// The port, once it listens.
	wait() (int, error)
	kill() error
	remove(keep bool)
	describe() string
}

type process struct {
	binary     string
	place      string
	rng        *rand.Rand
	partitions int
	logSlot    int
	dataSlot   int
	starts     int
	command    *exec.Cmd
	ended      chan error
}

// Small volumes and memtables, so that a few seconds of load roll over, flush, compact and reclaim.
func newProcess(binary string, rng *rand.Rand) (*process, error) {
	place, err := os.MkdirTemp("", "hafiz-linear-")
	if err != nil {
		return nil, err
	}
	pick := func(choices ...int) int { return choices[rng.IntN(len(choices))] }
	return &process{
		binary: binary, place: place, rng: rng,
		partitions: pick(1, 4, 8, 64), logSlot: pick(2, 5, 9), dataSlot: pick(4, 8, 32),
	}, nil
}

func (p *process) describe() string {
	return fmt.Sprintf("%d partitions, slots %d and %d MiB, %d starts", p.partitions, p.logSlot, p.dataSlot, p.starts)
}

func (p *process) log() string {
	return filepath.Join(p.place, fmt.Sprintf("server-%d.log", p.starts))
}

func (p *process) launch() error {
	p.starts++
	arguments := []string{"server"}
	for n := range drives {
		arguments = append(arguments, filepath.Join(p.place, fmt.Sprintf("drive%d", n+1)))
	}
	shards := min(p.partitions, 1+p.rng.IntN(3))
	arguments = append(arguments, "--address", "127.0.0.1:0", "--partitions", strconv.Itoa(p.partitions),
		"--shards", strconv.Itoa(shards), "--log-slot", fmt.Sprintf("%dMiB", p.logSlot),
		"--data-slot", fmt.Sprintf("%dMiB", p.dataSlot), "--memory", "64MiB", "--buffers", "48MiB", "--log-level", "warn")
	log, err := os.Create(p.log())
	if err != nil {
		return err
	}
	defer log.Close()
	p.command = exec.Command(p.binary, arguments...)
	p.command.Stdout, p.command.Stderr = log, log
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "HAFIZ_") {
			p.command.Env = append(p.command.Env, variable)
		}
	}
	p.command.Env = append(p.command.Env, "HAFIZ_ROOT_USER="+signature.User, "HAFIZ_ROOT_PASSWORD="+signature.Password)
	if err := p.command.Start(); err != nil {
		return err
	}
	p.ended = make(chan error, 1)
	go func(command *exec.Cmd, ended chan error) { ended <- command.Wait() }(p.command, p.ended)
	return nil
}

func (p *process) tail() string {
	text, err := os.ReadFile(p.log())
	if err != nil {
		return err.Error()
	}
	if at := panicked.FindIndex(text); at != nil {
		text = text[max(0, at[0]-100):min(len(text), at[0]+logTail)]
	}
	return string(text[max(0, len(text)-logTail):])
}

func (p *process) wait() (int, error) {
	deadline := time.Now().Add(startMax)
	for time.Now().Before(deadline) {
		select {
		case err := <-p.ended:
			p.command = nil
			return 0, fmt.Errorf("the server ended at its start: %v: %s", err, p.tail())
		default:
		}
		text, err := os.ReadFile(p.log())
		if err != nil {
			return 0, err
		}
		if found := listening.FindSubmatch(text); found != nil {
			return strconv.Atoi(string(found[1]))
		}
		time.Sleep(pollInterval)
	}
	return 0, fmt.Errorf("the server does not listen after %v: %s", startMax, p.tail())
}

// An error when it had ended before.
func (p *process) kill() error {
	if p.command == nil {
		return nil
	}
	select {
	case err := <-p.ended:
		p.command = nil
		return fmt.Errorf("the server ended by itself: %v: %s", err, p.tail())
	default:
	}
	err := p.command.Process.Kill()
	<-p.ended
	p.command = nil
	return err
}

func (p *process) remove(keep bool) {
	if p.command != nil {
		p.command.Process.Kill()
		<-p.ended
		p.command = nil
	}
	if !keep {
		os.RemoveAll(p.place)
	}
}
