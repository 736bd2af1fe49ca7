// Package faults runs the library in real processes on a real etcd cluster,
// breaks something, and judges from what the jobs wrote down themselves whether
// the guarantee held.
//
// Each member of etcd is a process of its own, so that it can be killed and
// paused. So is each node. Between every node and every member stands a [link.Link],
// a TCP proxy that can be cut, made to refuse, or held in each direction. All
// processes are copies of the running test binary: see [RunRole].
//
// After each fault a [World] is judged by four oracles:
//
//   - O1: no job was executing in two processes at once (package verify);
//   - O2: a register that keeps the highest fencing token of each job, as a
//     fenced store does, never had to refuse a write, unless a process was
//     frozen; then it refused all that came with an old token;
//   - O3: by etcd's own history, each run's token is the revision that brought in
//     a claim of its node that was the first in the queue of that job;
//   - O4: no job was without a runner for longer than the bound of the fault.
//
// Time is CLOCK_MONOTONIC, which all processes of the machine share. What the
// machine itself was late by, as measured by a [nodetest.StallMeter] meanwhile, is
// added to each bound of O4, and to the time for which a process may go on that was
// frozen. If it was late by more than what lies between two leaders, O2 takes all
// processes for frozen.
package faults
