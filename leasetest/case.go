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
	{"DeletedWhileWaiting", "a candidate that somebody removed from the store must not lead by mistake, nor wait for ever", deletedWhileWaiting},
	{"LeaseLostWhileWaiting", "Campaign returns ErrLeaseLost when the lease ends while it waits, and never success then", leaseLostWhileWaiting},
	{"LeaseLostBefore", "Campaign returns ErrLeaseLost under a lease that has ended", leaseLostBefore},

	{"Resign", "Resign blocks until the next candidate can lead, and ends the leadership", resign},
	{"ResignWithDoneContext", "Resign returns when its context is done; the leadership is over all the same, and the store is told later", resignWithDoneContext},
	{"CampaignAgain", "whoever campaigns again queues behind those who wait, and wins a new token", campaignAgain},

	{"Expiry", "lost is called, with a cause that wraps ErrLeadershipLost, and Valid is false, before anybody else can lead", expiry},
	{"ExpiryOfManyElections", "all leadership under a lease ends with the lease", expiryOfManyElections},
	{"DeletedWhileLeading", "lost is called when somebody removes the leader from the store, before anybody else can lead", deletedWhileLeading},
	{"LostOnce", "lost is called at most once", lostOnce},
	{"LostWithoutLocks", "lost is called without holding locks", lostWithoutLocks},
	{"ResignAfterLoss", "Resign after a loss takes nothing from the successor", resignAfterLoss},

	{"Close", "Close gives up every leadership and candidacy under the lease, so that others may lead", closeGivesUp},
	{"CloseEndsCampaigns", "campaigns that are blocked on a lease that is closed return ErrLeaseLost", closeEndsCampaigns},
	{"CloseTwice", "a second Close returns nil", closeTwice},
	{"CloseWithDoneContext", "Close returns soon after its context is done and frees all local resources; the store expires the rest", closeWithDoneContext},
}
