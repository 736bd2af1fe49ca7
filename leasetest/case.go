package leasetest

// cases are in the order in which one would make them pass.
var cases = []conformance{
	{"OneLeader", "at most one lease leads an election at a time", oneLeader},
	{"FirstComeFirstServed", "candidates lead in the order in which they came", firstComeFirstServed},
	{"TokensRise", "a token is strictly greater than that of every leadership of the election before it, whoever held it", tokensRise},
	{"Renewal", "the provider renews the lease: leadership lasts until it is resigned or lost", renewal},
	{"AcquireContext", "the context of AcquireLease bounds the call only, not the life of the lease", acquireContext},
	{"CampaignContext", "the context of Campaign bounds the campaign, not the leadership that it wins", campaignContext},
	{"ManyElections", "a lease stands in any number of elections, each of which is won and resigned on its own", manyElections},
	{"ManyApps", "elections of different apps have nothing to do with each other", manyApps},
	{"SameInstance", "several leases of the same app and instance are nodes of their own", sameInstance},

	{"CancelledCampaign", "when its context is done Campaign returns the context's error, and the candidacy is withdrawn", cancelledCampaign},
	{"CampaignWithDoneContext", "a campaign whose context is done must not turn into a leadership", campaignWithDoneContext},
	{"WaitingMakesNoCalls", "a campaign that waits makes no calls to the store", waitingMakesNoCalls},
	{"RemovedWhileWaiting", "a candidate that somebody removed from the store must not lead by mistake, nor wait for ever", removedWhileWaiting},
	{"LeaseLostWhileWaiting", "Campaign returns ErrLeaseLost when the lease ends while it waits, and never success then", leaseLostWhileWaiting},
	{"LeaseLostBefore", "Campaign returns ErrLeaseLost under a lease that has ended", leaseLostBefore},

	{"Resign", "Resign blocks until the next candidate can lead, and ends the leadership", resign},
	{"ResignWithDoneContext", "Resign returns when its context is done; the leadership is over all the same, and the store is told later", resignWithDoneContext},
	{"CampaignAgain", "whoever campaigns again queues behind those who wait, and wins a new token", campaignAgain},
	{"Gap", "Gap is the time since the candidate before was seen to release the election, and is not known of one that went in another way", gap},

	{"Record", "what a leader has recorded is known to every later leader when it is elected", recordIsSeen},
	{"Saved", "Saved returns what was saved last, by whatever leadership, up to 64 KiB", savedIsThere},
	{"StaleSave", "once a later leadership has called Saved, an earlier one can save nothing, whatever its node knows", staleSave},

	{"Expiry", "lost is called, with a cause that wraps ErrLeadershipLost, and Valid is false, before anybody else can lead", expiry},
	{"ExpiryOfManyElections", "all leadership under a lease ends with the lease", expiryOfManyElections},
	{"RemovedWhileLeading", "lost is called when somebody removes the leader from the store, before anybody else can lead", removedWhileLeading},
	{"LostOnce", "lost is called at most once", lostOnce},
	{"LostWithoutLocks", "lost is called without holding locks", lostWithoutLocks},
	{"ResignAfterLoss", "Resign after a loss takes nothing from the successor", resignAfterLoss},

	{"Close", "Close gives up every leadership and candidacy under the lease, so that others may lead", closeGivesUp},
	{"CloseEndsCampaigns", "campaigns that are blocked on a lease that is closed return ErrLeaseLost", closeEndsCampaigns},
	{"CloseTwice", "a second Close returns nil", closeTwice},
	{"CloseWithDoneContext", "Close returns soon after its context is done and frees all local resources; the store expires the rest", closeWithDoneContext},

	{"Announce", "an announcement is shown to all nodes, in place of the one before", announce},
	{"AnnounceJobs", "a node that announces nil Jobs is shown with nil Jobs, and one that announces none with none", announceJobs},
	{"AnnounceContext", "Announce returns its context's error when that is done, and what it has given up does not replace what is announced later", announceContext},
	{"AnnouncementEnds", "a node and what it has announced go with the lease", announcementEnds},
	{"ViewSelf", "Self is the ID of the lease's own node; a node that gets another lease is another one", viewSelf},
	{"ViewFollows", "the channel of a view is closed when there is another one, and later views are of later moments", viewFollows},
	{"ViewRests", "the channel of a view is not closed for heartbeats", viewRests},
	{"ViewIsKept", "a view is not changed after it was made", viewIsKept},
	{"ViewIsSorted", "the nodes of a view are sorted by ID, and its jobs by name", viewIsSorted},
	{"ViewOfApp", "a view shows the nodes and candidates of one app", viewOfApp},
	{"ViewOfQueue", "candidates are shown in the order in which they lead, with the tokens of their leaderships", viewOfQueue},
	{"ViewWithoutLeavers", "a candidate that has left, and a job that nobody leads or waits for, is in no view", viewWithoutLeavers},
	{"ViewOfLoss", "a candidate that is lost is in no view, and a job is shown as led only when its first candidate leads", viewOfLoss},
	{"ViewEnds", "when the lease has ended the last view is outdated, and View and Announce return ErrLeaseLost", viewEnds},
	{"Silence", "Silence is known of each node of the view, and stays below the TTL while the node is well", silence},

	{"Viewer", "a viewer shows the nodes and candidates of its app, of which it is none", viewer},
	{"ViewerAndLease", "a viewer shows the same as a lease, without Self", viewerAndLease},
	{"ViewerContext", "the context of OpenView bounds the call only", viewerContext},
	{"ViewerAge", "the age of what a viewer shows stays below the TTL while the store and a node are well", viewerAge},
	{"ViewerClose", "when a viewer is closed its last view is outdated, View returns ErrClosed, and a second Close nil", viewerClose},
}
