package statuspage

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
)

func (h *history) drawNodes(view *distributed.View, now time.Time) []node {
	nodes := make([]node, 0, len(view.Nodes)+len(h.gone))
	present := map[string]bool{}
	for _, n := range view.Nodes {
		present[n.Instance] = true
		nodes = append(nodes, h.drawNode(n, ""))
	}
	for _, n := range slices.Backward(h.gone) {
		if !present[n.Instance] && now.Sub(n.at) <= rememberNodes {
			present[n.Instance] = true
			nodes = append(nodes, h.drawNode(n.NodeView, departed(n.ID, view.Buried)))
		}
	}
	slices.SortStableFunc(nodes, func(a, b node) int {
		return cmp.Or(natural(a.Instance, b.Instance), strings.Compare(a.ID, b.ID))
	})
	return nodes
}

func (h *history) drawNode(n distributed.NodeView, went departure) node {
	d := node{
		ID: n.ID, Instance: n.Instance, Version: n.Version, Labels: n.Labels, Metadata: n.Metadata,
		Capacity: n.Capacity, Draining: n.Draining, Gone: went != "", Went: went, Color: h.colors[n.Instance] % palette,
		Jobs: h.counts[n.ID].leads, Standby: h.counts[n.ID].waits,
	}
	if n.Started.Unix() > 0 {
		d.Started = new(n.Started.UTC())
	}
	return d
}
