package distributed

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// A list of jobs is kept in pieces that are called by what is in them, and shared by
// all nodes that have the same. It is cut where the names say so, which is in the
// same places whatever else is in the list: so a job more changes one piece, and one
// of each list of pieces above it.

const (
	// pieceJobs is how many jobs a piece has on average. All nodes read it anew when one
	// of them is added.
	pieceJobs = 64

	// pieceLists is how many pieces a list of them has, on average if there are more.
	pieceLists = 16

	// pieceBytes keeps a piece below the size of a document.
	pieceBytes = maxDocument / 4

	// maxLists is how many pieces an info document names. Each node writes its own when
	// a job is added on all of them, and each reads those of all.
	maxLists = 1

	// maxLevels is how many lists of pieces there are, one above the other, at most.
	maxLevels = 8
)

// cutJobs returns the pieces of a list by their keys, and the names of the pieces, or
// of the lists of them, that an info document names.
func (k keys) cutJobs(jobs []JobInfo) (pieces map[string][]byte, top []string, err error) {
	pieces = map[string][]byte{}
	all := cutByNames(jobs)
	for {
		top = nil
		for _, piece := range all {
			name, err := k.addPiece(pieces, piece)
			if err != nil {
				return nil, nil, err
			}
			top = append(top, name)
		}
		if len(top) <= maxLists {
			return pieces, top, nil
		}
		all = cutByHashes(top)
	}
}

func (k keys) addPiece(pieces map[string][]byte, piece *listValue) (name string, err error) {
	body, err := marshal(piece)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	name = hex.EncodeToString(sum[:sumLength])
	key := k.list(name)
	pieces[key], err = k.encode(key, piece)
	return name, err
}

func cutByNames(jobs []JobInfo) (all []*listValue) {
	piece, size := new(listValue), 0
	for _, j := range jobs {
		v := jobValue(j)
		if v.Weight == 1 {
			v.Weight = 0
		}
		piece.Jobs = append(piece.Jobs, v)
		size += v.size()
		sum := sha256.Sum256([]byte(j.Name))
		if int(sum[0])%pieceJobs == 0 || size > pieceBytes {
			all, piece, size = append(all, piece), new(listValue), 0
		}
	}
	if len(piece.Jobs) > 0 {
		all = append(all, piece)
	}
	return all
}

// cutByHashes cuts a list of pieces into shorter ones.
func cutByHashes(names []string) (all []*listValue) {
	if len(names) <= pieceLists {
		return []*listValue{{Lists: names}}
	}
	piece := new(listValue)
	for _, name := range names {
		piece.Lists = append(piece.Lists, name)
		if name[0] == '0' || len(piece.Lists) == pieceJobs {
			all, piece = append(all, piece), new(listValue)
		}
	}
	if len(piece.Lists) > 0 {
		all = append(all, piece)
	}
	return all
}

func (v *jobValue) size() int {
	size := len(v.Name) + 16
	for _, label := range slices.Concat(v.Prefer, v.Avoid) {
		size += len(label) + 4
	}
	return size
}

// jobLists are lists of jobs as they were read.
type jobLists struct {
	pieces map[string]*jobPiece // by key
	whole  map[string][]JobInfo // by the names of their pieces
}

// jobPiece is a piece of a list: jobs, or names of other pieces.
type jobPiece struct {
	jobs  []JobInfo
	names []string
}

// read returns the lists in raw, by key. What l knows already is not read again: a
// piece never changes.
func (l jobLists) read(k keys, raw map[string][]byte) jobLists {
	fresh := jobLists{pieces: make(map[string]*jobPiece, len(raw)), whole: map[string][]JobInfo{}}
	same := l.pieces != nil && len(raw) == len(l.pieces)
	for key, value := range raw {
		piece, ok := l.pieces[key]
		if !ok {
			piece, same = k.readPiece(key, value), false
		}
		fresh.pieces[key] = piece
	}
	if same {
		return l
	}
	return fresh
}

// readPiece returns nil for what is not as it was written, which is as good as
// missing.
func (k keys) readPiece(key string, value []byte) *jobPiece {
	var v listValue
	if k.decode(key, value, &v) != nil {
		return nil
	}
	p := &jobPiece{jobs: make([]JobInfo, len(v.Jobs)), names: v.Lists}
	for i, j := range v.Jobs {
		p.jobs[i] = JobInfo{Name: j.Name, Weight: max(j.Weight, 1), Prefer: j.Prefer, Avoid: j.Avoid}
	}
	return p
}

// join returns the list that is made of those pieces, nil if one is missing.
func (l jobLists) join(k keys, names []string) []JobInfo {
	name := fmt.Sprint(names)
	if jobs, ok := l.whole[name]; ok {
		return jobs
	}
	pieces, ok := l.collect(k, nil, names, maxLevels)
	n := 0
	for _, p := range pieces {
		n += len(p.jobs)
	}
	jobs := make([]JobInfo, 0, n)
	for _, p := range pieces {
		jobs = append(jobs, p.jobs...)
	}
	sorted := slices.IsSortedFunc(jobs, func(a, b JobInfo) int { return cmp.Or(cmp.Compare(a.Name, b.Name), -1) })
	if !ok || !sorted {
		jobs = nil
	}
	if rest := jobs; rest != nil {
		for _, p := range pieces { // so that there is one copy
			p.jobs, rest = rest[:len(p.jobs):len(p.jobs)], rest[len(p.jobs):]
		}
	}
	l.whole[name] = jobs
	return jobs
}

// collect appends the pieces with those names, and the pieces of those, in order.
func (l jobLists) collect(k keys, pieces []*jobPiece, names []string, levels int) (_ []*jobPiece, ok bool) {
	for _, name := range names {
		piece := l.pieces[k.list(name)]
		if piece == nil || levels == 0 {
			return nil, false
		}
		if pieces, ok = l.collect(k, append(pieces, piece), piece.names, levels-1); !ok {
			return nil, false
		}
	}
	return pieces, true
}

// unusedLists returns pieces, some at a time, that no node has named for so long that
// none can be about to.
func (m *mirror) unusedLists(now time.Duration, limit int) (found []Document) {
	used := m.usedLists()
	for key, told := range m.infos {
		if kind, name, _ := m.keys.parse(key); kind != listDocument || used[name] {
			told.unused = 0
			continue
		}
		if told.unused == 0 {
			told.unused = now
		}
		if now-told.unused >= m.garbageAge && len(found) < limit {
			found = append(found, Document{Key: key, Revision: told.rev})
		}
	}
	return found
}

// usedLists returns the names of all pieces that some node's list is made of.
func (m *mirror) usedLists() map[string]bool {
	used := map[string]bool{}
	var mark func(names []string)
	mark = func(names []string) {
		for _, name := range names {
			told := m.infos[m.keys.list(name)]
			if used[name] || told == nil {
				continue
			}
			used[name] = true
			var v listValue
			if m.keys.decode(m.keys.list(name), told.value, &v) == nil {
				mark(v.Lists)
			}
		}
	}
	for key, told := range m.infos {
		var v infoValue
		if kind, _, _ := m.keys.parse(key); kind == infoDocument && m.keys.decode(key, told.value, &v) == nil {
			mark(v.Lists)
		}
	}
	return used
}
