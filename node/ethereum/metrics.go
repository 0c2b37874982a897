package ethereum

import (
	"fmt"
	"math/big"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keysteward/keysteward/node/gauge"
)

// metrics shows what the duty sees. Only a node whose duty runs exports values.
type metrics struct {
	balance *prometheus.GaugeVec
	gas     *prometheus.GaugeVec
	costs   *prometheus.GaugeVec
	client  *prometheus.GaugeVec
	clients *prometheus.GaugeVec
	used    *prometheus.GaugeVec
	paid    *prometheus.GaugeVec
	passes  *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	byLabel := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "keysteward", Name: name, Help: help}, labels)
	}
	m := &metrics{
		balance: byLabel("deposit_account_balance_wei", "Balance of the funding account in wei, rounded.", "account"),
		gas:     byLabel("deposit_gas_price_wei", "Price of a unit of gas in wei: base fee and tip."),
		costs:   byLabel("deposit_cost_wei", "Wei that deposits in flight still take, that those which wait will take, and that the balance lacks for all of them.", "account", "of"),
		client:  byLabel("execution_client_up", "1 if the execution client answers and is on the right chain."),
		clients: byLabel("execution_client_well", "1 for every execution client that may be used, 0 if it is passed over; a sole one is not listed.", "client"),
		used:    byLabel("execution_client_used", "1 for the execution client that is used.", "client"),
		paid:    byLabel("deposit_keys_paid_by_others", "Public keys of this cluster that somebody else paid for, on the leader; with a signature by the key's secret where signature is valid.", "signature"),
		passes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "keysteward", Name: "deposit_pass_duration_seconds",
			Help: "Duration of the deposit duty's passes.", Buckets: prometheus.ExponentialBuckets(0.002, 4, 8),
		}, []string{"result"}),
	}
	for _, c := range []prometheus.Collector{m.balance, m.gas, m.costs, m.client, m.clients, m.used, m.paid, m.passes} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register deposit metrics: %w", err)
		}
	}
	return m, nil
}

// reset takes back what only the leader knows.
func (m *metrics) reset() {
	for _, g := range []*prometheus.GaugeVec{m.balance, m.gas, m.costs, m.client, m.clients, m.used, m.paid} {
		g.Reset()
	}
}

func (m *metrics) up(up bool) {
	m.client.WithLabelValues().Set(gauge.OneIf(up))
}

// sees shows which execution clients are well.
func (m *metrics) sees(list []*endpoint) {
	for _, e := range list {
		m.clients.WithLabelValues(e.client.host).Set(gauge.OneIf(e.well()))
	}
}

// uses shows which execution client is used.
func (m *metrics) uses(list []*endpoint, used *endpoint) {
	for _, e := range list {
		m.used.WithLabelValues(e.client.host).Set(gauge.OneIf(e == used))
	}
}

// paidByOthers counts the keys that somebody else paid for, by whether the deposit
// was signed with the key's secret.
func (m *metrics) paidByOthers(signed, topUps int) {
	m.paid.WithLabelValues("valid").Set(float64(signed))
	m.paid.WithLabelValues("other").Set(float64(topUps))
}

func (m *metrics) passed(err error, took time.Duration) {
	result := "done"
	if err != nil {
		result = "cut-off"
	}
	m.passes.WithLabelValues(result).Observe(took.Seconds())
}

// money sets what deposits cost.
func (m *metrics) money(account string, gasPrice, inFlight, waiting, missing *big.Int) {
	m.gas.WithLabelValues().Set(rounded(gasPrice))
	for of, wei := range map[string]*big.Int{"in-flight": inFlight, "waiting": waiting, "missing": missing} {
		m.costs.WithLabelValues(account, of).Set(rounded(wei))
	}
}

func rounded(wei *big.Int) float64 {
	f, _ := new(big.Float).SetInt(wei).Float64()
	return f
}

// observe sets what a pass read from the state and the chain.
func (m *metrics) observe(cfg Config, w world) {
	if w.balance != nil {
		m.balance.WithLabelValues(cfg.Funding.Address().Hex()).Set(rounded(w.balance))
	}
}

var (
	descIndexed  = describeIndex("deposit_events_next_block", "The first block whose DepositEvents this node has not read.")
	descHead     = describeIndex("deposit_events_head_block", "The newest block of the chain that reading DepositEvents has seen.")
	descEvents   = describeIndex("deposit_events_indexed", "DepositEvents in this node's index.")
	descComplete = describeIndex("deposit_events_complete", "1 if all DepositEvents up to the head were read, and none is missing.")
)

func describeIndex(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("keysteward_"+name, help, nil, nil)
}

// Describe implements prometheus.Collector.
func (x *Indexer) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descIndexed, descHead, descEvents, descComplete} {
		ch <- d
	}
}

// Collect implements prometheus.Collector: how far this node's index has come.
func (x *Indexer) Collect(ch chan<- prometheus.Metric) {
	s := x.Status()
	tell := gauge.To(ch)
	for d, value := range map[*prometheus.Desc]float64{
		descIndexed: float64(s.NextBlock), descHead: float64(s.Head), descEvents: float64(s.Events), descComplete: gauge.OneIf(s.Complete),
	} {
		tell(d, value)
	}
}
