package api

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/fsm"
	"github.com/keysteward/keysteward/fsm/fsmpb"
	"github.com/keysteward/keysteward/node/gauge"
)

var (
	descKeys      = gauge.Desc("keys", "Keys by state.", "state")
	descDeposits  = gauge.Desc("deposits", "Deposits by state.", "state")
	descWaiting   = gauge.Desc("deposits_waiting", "1 while deposits wait, by reason.", "reason")
	descSpares    = gauge.Desc("spare_keys", "Keys that no request reserves: free, on their way, planned, and how many are wanted in all.", "state")
	descToday     = gauge.Desc("deposits_signed_today", "Deposits signed within the last 24 hours of cluster time.")
	descTime      = gauge.Desc("cluster_time_seconds", "Cluster time, in which rests and leases count.")
	descSealed    = gauge.Desc("sealed", "1 while this node has no usable key-encryption key.")
	descDataKey   = gauge.Desc("seal_data_key_age_seconds", "How long the data key that seals has been in use, in cluster time.")
	descOutdated  = gauge.Desc("seal_outdated_records", "Secrets that are sealed under older data keys, and are being sealed again.")
	descLeader    = gauge.Desc("leader", "1 while this node leads.")
	descApplied   = gauge.Desc("applied_index", "Raft index of the state of this node.")
	descTolerance = gauge.Desc("failure_tolerance", "How many voters may be lost before the cluster stops; the leader leaves out those that do not answer it.")
	descAudit     = gauge.Desc("audit_last_seq", "Sequence number of the newest audit record.")
	descAuditKept = gauge.Desc("audit_records", "Audit records that are kept in the state.")
	descAllocated = gauge.Desc("allocations", "Allocations by state: held, or resting until there is proof that the holder can no longer sign, and some time after that.", "state")
	descRequests  = gauge.Desc("requests_waiting", "Pods that wait for keys.")
	descOldest    = gauge.Desc("oldest_request_age_seconds", "How long the pod has waited that has waited for longest, by this machine's clock; 0 while none waits.")
	descTokens    = gauge.Desc("tokens", "Tokens in the state of the cluster.")
	descFeatures  = gauge.Desc("feature_level", "Feature level of the state: what every member's program knew when it was raised.")
	descReady     = gauge.Desc("ready", "1 while a check of /readyz is well, for each check.", "check")
	descRestore   = gauge.Desc("restore_open", "1 while a restored backup is not confirmed: no key changes its holder and no deposit is signed.")
	descLacking   = gauge.Desc("restore_missing", "What has to be found out before a restored backup can be confirmed, by kind.", "code")
	descBuild     = gauge.Desc("build_info", "1; the version of the program.", "version")
)

// stateCollector reads status and state at the moment of a scrape.
type stateCollector struct {
	s *Server

	mu     sync.Mutex
	census census
}

// Describe implements prometheus.Collector.
func (*stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descKeys, descDeposits, descWaiting, descSpares, descToday, descTime, descSealed, descDataKey, descOutdated, descLeader, descApplied, descTolerance, descAudit, descAuditKept, descReady, descBuild,
		descAllocated, descRequests, descOldest, descTokens, descFeatures, descRestore, descLacking,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	tell := gauge.To(ch)
	status, view := c.s.node.Status(), c.s.node.View()
	m := view.Meta()
	for state, n := range keyCounts(m) {
		tell(descKeys, float64(n), state)
	}
	for state, n := range depositCounts(m) {
		tell(descDeposits, float64(n), state)
	}
	c.collectRestore(view, tell)
	if code := view.DepositStatus().GetCode(); code != "" {
		tell(descWaiting, 1, code)
	}
	spares := view.Spares()
	for state, n := range map[string]int{"wanted": spares.Wanted, "free": spares.Free, "on-their-way": spares.OnTheirWay, "planned": spares.Planned} {
		tell(descSpares, float64(n), state)
	}
	tell(descToday, float64(paceOf(view).SignedToday))
	_, isSealed := c.s.vault.Sealed()
	tell(descTime, float64(m.GetClusterTimeMs())/1000)
	tell(descSealed, gauge.OneIf(isSealed))
	outdated, age := sealAges(m)
	tell(descDataKey, age)
	tell(descOutdated, outdated)
	tell(descLeader, gauge.OneIf(status.IsLeader))
	tell(descApplied, float64(m.GetAppliedIndex()))
	tell(descTolerance, float64(status.FailureTolerance()))
	tell(descAudit, float64(m.GetNextAudit()))
	tell(descAuditKept, float64(m.GetNextAudit()-view.AuditAnchor().Seq))
	now := c.count(view, time.Now())
	tell(descAllocated, float64(now.held), "held")
	tell(descAllocated, float64(now.resting), "resting")
	tell(descRequests, float64(now.waiting))
	tell(descOldest, now.age(time.Now()))
	tell(descTokens, float64(now.tokens))
	tell(descFeatures, float64(m.GetFeatureLevel()))
	for _, check := range c.s.node.Checks() {
		tell(descReady, gauge.OneIf(check.OK), check.Name)
	}
	tell(descBuild, 1, c.s.cfg.Version)
}

// collectRestore tells of a restore that is open.
func (*stateCollector) collectRestore(view *fsm.View, tell gauge.Tell) {
	tell(descRestore, gauge.OneIf(view.RestoreOpen()))
	lacking := make(map[string]int)
	for _, m := range view.RestoreMissing() {
		lacking[m.Code]++
	}
	for code, n := range lacking {
		tell(descLacking, float64(n), code)
	}
}

// census is what has to be counted row by row.
type census struct {
	held, resting, waiting, tokens int
	oldest                         time.Time // since when the request waits that waits longest; zero if none does
	at                             time.Time
	took                           time.Duration
}

// restShare is how many times as long as counting takes a census is good for: with a million pods
// counting takes a part of a second, and scrapers must not make it a node's main work.
const restShare = 50

func (c *stateCollector) count(view *fsm.View, now time.Time) census {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.census.at) < restShare*c.census.took {
		return c.census
	}
	n := census{at: now}
	for a := range view.Allocations() {
		if a.GetState() == fsmpb.AllocationState_ALLOCATION_STATE_HELD {
			n.held++
		} else {
			n.resting++
		}
	}
	for r := range view.Requests() {
		n.waiting++
		if since := time.UnixMilli(r.GetSinceWallMs()); n.oldest.IsZero() || since.Before(n.oldest) {
			n.oldest = since
		}
	}
	for range view.Tokens("") {
		n.tokens++
	}
	n.took = time.Since(now)
	c.census = n
	return n
}

// age is how long the oldest request has waited, in seconds.
func (n census) age(now time.Time) float64 {
	if n.oldest.IsZero() {
		return 0
	}
	return max(0, now.Sub(n.oldest).Seconds())
}

// sealAges are how many secrets are under older data keys, and how old, in seconds,
// the one is that seals.
func sealAges(m *fsmpb.Meta) (outdated, age float64) {
	s := m.GetSeal()
	for _, t := range s.GetTerms() {
		if t.GetTerm() < s.GetCurrentTerm() {
			outdated += float64(t.GetRecords())
		}
	}
	if s != nil {
		age = float64(m.GetClusterTimeMs()-s.GetSinceMs()) / 1000
	}
	return outdated, age
}
