/*
 * How claims get their places, for two nodes and one job: position 0 means "the
 * revision of this very write", and the owner writes the number later. No time
 * and no losses here: order alone has to exclude. Writes are guarded, replies are
 * lost, copies come late, a stranger writes a document again as it is, steps of
 * the feed are merged, and pictures are listed anew. README.md has the results.
 *
 * A node believes of its own claim a number not below the revision at which it
 * was committed, and of another's one not above it. So when it finds itself
 * first, it is.
 */
#ifndef REVS
#define REVS 8 /* the run is over after so many changes of the store */
#endif
#define R1 (REVS + 1)

/* the store: the document that each revision wrote, and with what */
byte doc[R1], seq[R1], number[R1], guarded[R1];
bool has[R1];
byte head;
byte current[2]; /* revision of the document */

/* a write under way; its copies differ in nothing */
bool busy[2], wHas[2];
byte wSeq[2], wNumber[2], wGuard[2];
/* nodes */
byte known[2];   /* revision of our document, as last known */
byte done[2];    /* seq of our last write that is known to be committed */
bool want[2];    /* we stand */
byte since[2];   /* seq of the write that made our claim */
byte mine[2];    /* our number, 0: not known yet */
bool leads[2];
/* pictures */
byte at[2];      /* as of this revision */
byte theirs[2];  /* the other's place, 0: no claim */
byte theirSeq[2];
byte ourSeq[2];  /* of our document in the picture */
bool ourClaim[2];
byte token;      /* of the last leader */
byte r, e, f;    /* scratch */

#define other(x) (1 - (x))
#ifdef OLD_PICTURE
#define recent(x) true
#else
#define recent(x) (mine[x] <= at[x]) /* a number heard from a refused write may be above the picture */
#endif

inline commit(d, s, h, n, g) {
	head++; doc[head] = d; seq[head] = s; has[head] = h; number[head] = n; guarded[head] = g; current[d] = head
}

inline learn(x, rev) { /* our write is in place, at rev or before */
	if
	:: wHas[x] && mine[x] == 0 && since[x] == wSeq[x] -> mine[x] = rev
	:: else
	fi;
	known[x] = rev; done[x] = wSeq[x]; busy[x] = false
}

inline write(x, h, n) {
	busy[x] = true; wSeq[x] = done[x] + 1; wHas[x] = h; wNumber[x] = n; wGuard[x] = known[x]
}

/* takes in all changes up to to, in one step or as a listing */
inline take(x, to) {
	r = at[x] + 1; f = 0; e = 0;
	do
	:: r <= to ->
		if
		:: doc[r] == x -> f = r
		:: else -> e = r
		fi;
		r++
	:: else -> break
	od;
	if
	:: f > 0 -> ourSeq[x] = seq[f]; ourClaim[x] = has[f];
		if
		:: has[f] && mine[x] == 0 && want[x] && seq[f] >= since[x] -> mine[x] = f
#ifdef OWNER_CHANGES
		:: has[f] && mine[x] != 0 && want[x] && seq[f] == since[x] && number[f] == 0 -> mine[x] = f
#endif
		:: else
		fi;
		/* the feed also tells of a write whose reply was lost */
		if
		:: busy[x] && seq[f] == wSeq[x] && current[x] == f -> learn(x, f)
		:: else
		fi
	:: else
	fi;
	if
	:: e > 0 && !has[e] -> theirs[x] = 0; theirSeq[x] = seq[e]
	:: e > 0 && has[e] && number[e] > 0 -> theirs[x] = number[e]; theirSeq[x] = seq[e]
	:: e > 0 && has[e] && number[e] == 0 ->
		if
		:: seq[e] == theirSeq[x] /* touched: as it was */
#ifdef TOUCH_MOVES
			-> theirs[x] = e
#endif
#ifdef NUMBER_FROM_LISTING
		:: seq[e] != theirSeq[x] -> theirs[x] = e
#else
		:: seq[e] != theirSeq[x] -> /* committed after our picture, and after what it replaces: no earlier than this */
			theirs[x] = (at[x] > guarded[e] -> at[x] : guarded[e]) + 1
#endif
		fi;
		theirSeq[x] = seq[e]
	:: else
	fi;
	at[x] = to; r = 0; e = 0; f = 0
}

inline judge(x) {
	if
#ifdef NO_AFTER
	:: !leads[x] && want[x] && ourClaim[x] && mine[x] > 0 && recent(x) && (theirs[x] == 0 || mine[x] < theirs[x]) ->
#else
	:: !leads[x] && want[x] && ourClaim[x] && ourSeq[x] >= since[x] && mine[x] > 0 && recent(x) && (theirs[x] == 0 || mine[x] < theirs[x]) ->
#endif
		leads[x] = true; assert(!leads[other(x)]);
		assert(mine[x] > token); token = mine[x]
	:: else
	fi
}

proctype Node(byte x) {
end:	do
	:: d_step { !busy[x] && !want[x] -> printf("node %d stands\n", x);
		write(x, true, 0); want[x] = true; since[x] = wSeq[x]; mine[x] = 0 }
	:: d_step { !busy[x] && want[x] && mine[x] > 0 && number[known[x]] == 0 -> printf("node %d writes its number %d\n", x, mine[x]);
		write(x, true, mine[x]) }
	/* another job comes into the document or goes */
#ifdef STAYS_ZERO
	:: d_step { !busy[x] && want[x] && number[known[x]] == 0 -> printf("node %d writes, and leaves the 0\n", x);
		write(x, true, 0) }
#endif
	:: d_step { !busy[x] && want[x] && mine[x] > 0 -> printf("node %d has stopped, and releases\n", x);
		write(x, false, 0); want[x] = false; leads[x] = false; mine[x] = 0 }
	:: d_step { !busy[x] && want[x] && mine[x] > 0 -> printf("node %d has stopped, and stands anew at once\n", x);
		write(x, true, 0); leads[x] = false; since[x] = wSeq[x]; mine[x] = 0 }
	:: d_step { busy[x] && current[x] == wGuard[x] && head < REVS -> printf("node %d: committed at %d\n", x, head + 1);
		commit(x, wSeq[x], wHas[x], wNumber[x], wGuard[x]) }
	:: d_step { busy[x] && current[x] > 0 && seq[current[x]] == wSeq[x] && doc[current[x]] == x -> printf("node %d hears that its write is in place at %d\n", x, current[x]);
		learn(x, current[x]); judge(x) }
	:: d_step { busy[x] && current[x] != wGuard[x] && seq[current[x]] != wSeq[x] -> printf("node %d hears that its document was touched\n", x);
		wGuard[x] = current[x] }
	:: d_step { at[x] < head -> printf("node %d sees all up to %d\n", x, at[x] + 1); take(x, at[x] + 1); judge(x) }
	:: d_step { at[x] + 1 < head -> printf("node %d sees all up to %d\n", x, at[x] + 2); take(x, at[x] + 2); judge(x) }
	:: d_step { at[x] + 2 < head -> printf("node %d sees all up to %d\n", x, at[x] + 3); take(x, at[x] + 3); judge(x) }
	:: d_step { at[x] < head -> printf("node %d lists\n", x); take(x, head); judge(x) }
	:: d_step { current[x] > 0 && head < REVS -> printf("a stranger touches the document of node %d\n", x);
		commit(x, seq[current[x]], has[current[x]], number[current[x]], guarded[current[x]]) }
	od
}

init { atomic { run Node(0); run Node(1) } }
