/*
 * The protocol of package distributed for one job and three nodes. At no time
 * may two nodes run its work. Jobs do not touch one another, so one will do.
 * README.md says how to run this, what is left out, and what it finds.
 *
 * There is no bound on how long it runs: nothing counts up. Keys know only their
 * place in the queue, clocks only what is left, and etcd's log is kept only as
 * far as some node has not seen it yet. A node that falls further behind than
 * LAG events has lost its watch, and has to list.
 *
 * Where reality has a choice, and one end of it is the worst for exclusion, the
 * model takes that one. A node works as soon as it may, and until it must stop.
 * Heartbeats are committed when they are sent, or never: later, others would
 * wait longer. Nobody waits for what is known to etcd to be over. So what holds
 * here holds with every delay in between.
 */
#define N 3
#ifndef TTL
#define TTL 2 /* in ticks; the drift that waits allow for is arithmetic, and left out */
#endif
#ifndef LAG
#define LAG 3 /* up to 4 */
#endif
#define BROKEN (LAG + 1)

/* What a node sees in its mirror, of another node: */
#define ABSENT 0
#define KEY    1 /* its candidate key */
#define GHOST  2 /* that it lost its key, or may have, and may be working still */

/* Events: a candidate key ... */
#define STAND  1 /* put */
#define GONE   2 /* deleted by its owner, or the owner has said since that it stopped */
#define LOST   3 /* torn away, by etcd or an operator */
#define LAPSED 4 /* the same, and the owner's silence has lasted since */

#define OUT  0
#define IN   1
#define OVER 2 /* its validity has passed, or it died: it leaves things behind */

/* etcd */
byte cand[N];    /* place of the candidate key in the queue, from 1; 0 if there is none */
bool alive[N];   /* the alive key is there ... */
bool counted[N]; /* ... and says that there is a candidate key */
byte what[LAG], who[LAG], filled; /* the last events, the newest last */
/* what follows from its log and the clock */
byte silent[N];  /* ticks since the last heartbeat was committed */
byte until[N];   /* ticks for which the owner of a lost key may not know */
/* nodes */
byte phase[N];
byte valid[N];   /* ticks that the validity has left */
byte work[N];    /* ticks for which work goes on, unless it stops earlier */
byte beat[N];    /* a heartbeat that has not come back: ticks since it was sent, and 1; 0 if there is none */
bool held[N];    /* it was committed after a loss that the node has not seen */
bool blind[N];   /* the node has lost its key, and has not seen that */
byte lag[N];     /* events not seen */
/* mirrors */
bool mine[N];    /* our candidate key, newer than our last release */
byte m[N * N];   /* x's view of y, at(x, y) */
bool ahead[N * N]; /* it comes before our key, or will when we stand */

byte i, j, k, y; /* scratch, 0 between steps */
#ifdef REACH_HANDOVER
byte widow;
#endif

#define at(x, y)    ((x) * N + (y))
#define left(ticks) ((ticks) >= TTL -> 0 : TTL - (ticks))

#ifdef FROM_RECEIPT
#define gain(x) TTL
#else
#define gain(x) left(beat[x] - 1)
#endif
#ifdef NO_COUNT
#define whole(y) (alive[y])
#else
#define whole(y) (alive[y] && counted[y] == (cand[y] > 0))
#endif

#define blocked(x) (ahead[at(x, 0)] || ahead[at(x, 1)] || ahead[at(x, 2)])
#define behindKey(x, y) (ahead[at(x, y)] && m[at(x, y)] == KEY)
#define behindAny(x) (behindKey(x, 0) || behindKey(x, 1) || behindKey(x, 2))
#define standing(x, n) (lag[x] >= n && what[filled - n] == STAND && who[filled - n] == x)
#define mayStand(x) (lag[x] < BROKEN && (standing(x, 1) || standing(x, 2) || standing(x, 3) || standing(x, 4)))
#define logged(x, n) (filled > n && who[(n) % LAG] == x)
#define remembered(x) (m[at(0, x)] + m[at(1, x)] + m[at(2, x)] > 0 || \
	logged(x, 0) || logged(x, 1) || logged(x, 2) || logged(x, 3))

inline trim() { /* forgets what everybody has seen */
	do
	:: filled > 0 && lag[0] != filled && lag[1] != filled && lag[2] != filled ->
		for (i : 1 .. LAG - 1) { what[i - 1] = what[i]; who[i - 1] = who[i] }
		filled--; what[LAG - 1] = 0; who[LAG - 1] = 0
	:: else -> break
	od
}

inline tell(event, x) {
	if
	:: filled == LAG ->
		for (i : 0 .. N - 1) { lag[i] = (lag[i] == LAG -> BROKEN : lag[i]) }
		trim()
	:: else
	fi;
	what[filled] = event; who[filled] = x; filled++;
	for (i : 0 .. N - 1) { lag[i] = (phase[i] == IN && lag[i] < BROKEN -> lag[i] + 1 : lag[i]) }
}

inline dequeue(x) {
	for (i : 0 .. N - 1) { cand[i] = (cand[i] > cand[x] -> cand[i] - 1 : cand[i]) }
	cand[x] = 0
}

/* Nobody needs to wait for x any more, whether they know of its loss or not. */
inline settle(x, event) {
	until[x] = 0;
	for (i : 0 .. N - 1) {
		if
		:: m[at(i, x)] == GHOST -> m[at(i, x)] = ABSENT; ahead[at(i, x)] = false
		:: else
		fi
	}
	for (i : 0 .. LAG - 1) {
		what[i] = (who[i] == x && (what[i] == LOST || what[i] == LAPSED) -> event : what[i])
	}
#ifdef REACH_HANDOVER
	widow = (event == GONE && widow == x + 1 -> 0 : widow)
#endif
}

inline release(x) {
	settle(x, GONE); counted[x] = false;
	if
	:: cand[x] > 0 -> dequeue(x); tell(GONE, x)
	:: else
	fi
}

/* The wait counts from the last heartbeat before the loss: others saw that no
 * earlier than it was committed. */
inline lose(x) {
#ifdef REACH_HANDOVER
	widow = (work[x] > 0 -> x + 1 : widow);
#endif
	dequeue(x); until[x] = left(silent[x]); blind[x] = (phase[x] == IN);
	if
	:: until[x] > 0 -> tell(LOST, x)
	:: else -> tell(LAPSED, x)
	fi
}

inline forget(x) {
	for (i : 0 .. N - 1) { m[at(x, i)] = ABSENT; ahead[at(x, i)] = false }
}

inline end(x) {
	phase[x] = OVER; valid[x] = 0; work[x] = 0; blind[x] = false; lag[x] = 0;
#ifndef LATE_BEATS
	beat[x] = 0; held[x] = false; mine[x] = false; forget(x)
#endif
}

inline notMine(x) {
	mine[x] = false;
	for (i : 0 .. N - 1) { ahead[at(x, i)] = (m[at(x, i)] != ABSENT) }
}

inline see(x) { /* the next event */
	k = what[filled - lag[x]]; y = who[filled - lag[x]]; lag[x]--;
	if
	:: k == STAND && y == x ->
		notMine(x); mine[x] = true;
#ifndef NO_AFTER
		for (i : 0 .. LAG - 1) { /* released since: the mirror lags behind what we do */
			mine[x] = mine[x] && !(i + lag[x] >= filled && i < filled && who[i] == x && what[i] == GONE)
		}
#endif
	:: k != STAND && y == x ->
		notMine(x);
		if
		:: k != GONE -> blind[x] = false; held[x] = false
		:: else
		fi
	:: k == STAND && y != x -> m[at(x, y)] = KEY; ahead[at(x, y)] = !mine[x]
#ifndef NO_UNCLEAN_WAIT
	:: k == LOST && y != x -> m[at(x, y)] = (m[at(x, y)] == KEY -> GHOST : m[at(x, y)])
#else
	:: k == LOST && y != x -> m[at(x, y)] = ABSENT; ahead[at(x, y)] = false
#endif
	:: (k == GONE || k == LAPSED) && y != x -> m[at(x, y)] = ABSENT; ahead[at(x, y)] = false
	fi
}

#ifndef NO_LISTING_WAIT
#define unclear(x, y) (until[y] > 0 && !whole(y))
#else
#define unclear(x, y) (m[at(x, y)] == GHOST && !whole(y)) /* knows only what it has seen itself */
#endif

inline list(x) { /* etcd as it is: whoever is not whole may have lost any key */
	for (i : 0 .. N - 1) {
		if
		:: i == x -> mine[x] = (cand[x] > 0)
		:: i != x && cand[i] > 0 -> m[at(x, i)] = KEY; ahead[at(x, i)] = (cand[x] == 0 || cand[i] < cand[x])
		:: i != x && cand[i] == 0 ->
			m[at(x, i)] = (unclear(x, i) -> GHOST : ABSENT); ahead[at(x, i)] = (m[at(x, i)] == GHOST)
		fi
	}
	blind[x] = false; held[x] = false; lag[x] = 0
}

/* After each step: who may work does, and what makes no difference is made the
 * same, for fewer states. An event that neither is our own nor concerns who is
 * ahead of us changes nothing that we may do, so it is seen at once; so a key
 * comes into a mirror late only with our own. */
#define noMatter(x, event, y) (y == x -> event == GONE && !mine[x] : event == STAND || !mine[x] || !ahead[at(x, y)])

inline tidy() {
	for (j : 0 .. N - 1) {
		do
		:: lag[j] > 0 && lag[j] < BROKEN && noMatter(j, what[filled - lag[j]], who[filled - lag[j]]) -> see(j)
		:: else -> break
		od;
		if
		:: phase[j] == IN && valid[j] > 0 && mine[j] && !blocked(j) && work[j] == 0 ->
			work[j] = valid[j];
#ifdef REACH_HANDOVER
			assert(widow == 0 || widow == j + 1)
#endif
		:: else
		fi;
#if !defined(LATE_BEATS) && !defined(FROM_RECEIPT)
		if /* a heartbeat that adds nothing */
		:: beat[j] > 0 && gain(j) <= valid[j] -> beat[j] = 0; held[j] = false
		:: else
		fi;
#endif
		if /* a mirror that gives nothing new until the next listing */
		:: lag[j] == BROKEN && (!mine[j] || work[j] > 0 || behindAny(j)) ->
			mine[j] = mine[j] && work[j] > 0; forget(j)
		:: else
		fi;
		if /* a node that can only find out that its lease has gone */
		:: phase[j] == IN && !alive[j] && !mine[j] && work[j] == 0 && !mayStand(j) -> end(j)
		:: else
		fi;
		if
		:: phase[j] == OVER && cand[j] == 0 ->
			alive[j] = false; counted[j] = false; silent[j] = 0; phase[j] = (until[j] > 0 -> OVER : OUT)
		:: else
		fi
	}
	trim(); i = 0; j = 0; k = 0; y = 0;
#ifndef REACH_HANDOVER
	assert((work[0] > 0) + (work[1] > 0) + (work[2] > 0) <= 1)
#endif
}

inline step(x) {
	if
	/* A new node, once nobody remembers the one that was here before. */
	:: d_step { phase[x] == OUT && !remembered(x) -> printf("node %d joins\n", x);
		list(x); phase[x] = IN; alive[x] = true; valid[x] = TTL; silent[x] = 0; beat[x] = 0; tidy() }
	:: d_step { lag[x] > 0 && lag[x] < BROKEN -> printf("node %d sees an event\n", x); see(x); tidy() }
	:: d_step { lag[x] > 0 -> printf("node %d lists\n", x); list(x); tidy() }
	:: d_step { phase[x] == IN && alive[x] && beat[x] == 0 -> printf("node %d sends a heartbeat\n", x);
		silent[x] = 0; beat[x] = 1; held[x] = blind[x]; tidy() }
	/* Work whose key was lost is not prolonged: it is about to stop. */
#ifdef LATE_BEATS
	:: d_step { beat[x] > 0 && !held[x] -> printf("node %d: heartbeat comes back\n", x); phase[x] = IN;
#else
	:: d_step { phase[x] == IN && beat[x] > 0 && !held[x] -> printf("node %d: heartbeat comes back\n", x);
#endif
		valid[x] = (gain(x) > valid[x] -> gain(x) : valid[x]); beat[x] = 0;
		work[x] = (mine[x] && work[x] > 0 -> valid[x] : work[x]); tidy() }
	:: d_step { phase[x] == IN && alive[x] && !counted[x] -> printf("node %d stands\n", x);
		counted[x] = true;
		for (i : 0 .. N - 1) { k = (cand[i] > k -> cand[i] : k) }
		cand[x] = k + 1; tell(STAND, x); tidy() }
	/* A release is also how a node acknowledges that its key was lost. */
	:: d_step { phase[x] == IN && alive[x] && counted[x] -> printf("node %d has stopped, and releases\n", x);
		blind[x] = false; held[x] = false;
#ifndef BEFORE_WORK_STOPPED
		work[x] = 0;
#endif
#ifndef NO_AFTER
		notMine(x);
#endif
		release(x); tidy() }
	:: d_step { phase[x] != OUT -> printf("node %d has stopped, and leaves\n", x);
		end(x); release(x); alive[x] = false; tidy() }
	:: d_step { alive[x] -> printf("etcd revokes the lease of node %d\n", x);
		alive[x] = false; counted[x] = false;
		if
		:: cand[x] > 0 -> lose(x)
		:: else
		fi;
		silent[x] = 0; tidy() }
	:: d_step { alive[x] && cand[x] > 0 -> printf("an operator deletes the key of node %d\n", x); lose(x); tidy() }
	fi
}

inline tick() {
	d_step { printf("a tick passes\n");
		for (j : 0 .. N - 1) {
			silent[j] = (alive[j] && silent[j] < TTL -> silent[j] + 1 : silent[j]);
			valid[j] = (valid[j] > 0 -> valid[j] - 1 : 0);
			work[j] = (work[j] > 0 -> work[j] - 1 : 0);
			beat[j] = (beat[j] > 0 && beat[j] < TTL -> beat[j] + 1 : 0);
			held[j] = held[j] && beat[j] > 0;
			if
			:: until[j] == 1 -> settle(j, LAPSED)
			:: until[j] > 1 -> until[j]--
			:: else
			fi;
			if
			:: phase[j] == IN && valid[j] == 0 -> end(j)
			:: else
			fi
		}
		tidy()
	}
}

init {
	do
	:: step(0)
	:: step(1)
	:: step(2)
	:: tick()
	od
}
