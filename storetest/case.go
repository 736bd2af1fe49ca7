package storetest

// cases are in the order in which one would make them pass.
var cases = []conformance{
	{"Create", "a Put at revision 0 creates the document, if there is none, and does nothing else", create},
	{"Replace", "a Put at another revision replaces the document that is there, and does nothing if it is at another one", replace},
	{"Delete", "a Delete removes the document if it is at its revision, and does nothing else", remove},
	{"GoneForGood", "no revision but 0 matches a document that is gone, not that of its deletion either", goneForGood},
	{"LateCopy", "a write that arrives once more does nothing", lateCopy},
	{"Refusal", "what a refusal says is there is there", refusal},
	{"RevisionsRise", "revisions rise in the order in which changes take effect, whoever makes them and to whatever document", revisionsRise},
	{"OneWins", "of the writes to a document at one revision exactly one takes effect", oneWins},

	{"Listing", "the first step is a listing of all there is, of its revision exactly, also if that is nothing", listing},
	{"Pages", "a listing of many documents is of one revision", pages},
	{"Pictures", "after each step a follower's picture is the space as of its revision, and steps go forward", pictures},
	{"TwoFollowers", "all followers see the same", twoFollowers},
	{"Prefixes", "a follower is told of the documents whose keys begin with its prefix, and of no others", prefixes},
	{"OneAtATime", "tell is called by one goroutine at a time, and never after Follow has returned", oneAtATime},
	{"FollowContext", "Follow goes on until its context is done, returns soon then, and never nil", followContext},

	{"Sizes", "values of 1 byte to 96 KiB are kept as they are", sizes},
	{"TooLarge", "a value that is too large for the store is refused, and nothing is written", tooLarge},
	{"Keys", "keys of 1 to 700 bytes of UTF-8 without control characters are kept apart as they are", keys},
	{"OwnMemory", "the store keeps no value that it was given, and no value that it has told changes", ownMemory},

	{"WriteContext", "Put and Delete return soon after their context is done", writeContext},
	{"LostReply", "a write whose answer is lost is not reported as refused; made once more it is refused", lostReply},
	{"LateWrite", "a write that arrives late does nothing if the document is at another revision by then", lateWrite},
	{"LateValue", "a write that was given up writes what it was given, whatever its caller has done with that since", lateValue},
	{"CompactedUnderWay", "a follower goes on when history is forgotten, and misses nothing of what it had not been told", compactedUnderWay},

	{"Batch", "each write of PutAll takes effect or fails by itself, and the results are in order", batch},
	{"BatchRefusals", "the refusals of PutAll are those of Put and Delete", batchRefusals},
	{"LargeBatch", "PutAll takes any number of writes", largeBatch},
	{"BatchContext", "PutAll returns soon after its context is done", batchContext},

	{"Close", "calls under way fail when the store is closed, and so do later ones; others are not disturbed", closing},
	{"CloseTwice", "a second Close does nothing", closeTwice},
}
