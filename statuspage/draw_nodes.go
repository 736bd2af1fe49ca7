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
	}
	if n.Started.Unix() > 0 {
		d.Started = new(n.Started.UTC())
	}
	return d
}

// count counts what each node leads and waits for.
func (pic *picture) count(view *distributed.View) {
	at := map[string]*node{}
	for i := range pic.Nodes {
		at[pic.Nodes[i].ID] = &pic.Nodes[i]
	}
	for i := range pic.Jobs {
		if n := at[pic.Jobs[i].Node]; n != nil {
			n.Jobs++
		}
	}
	for i := range view.Jobs {
		for q, c := range view.Jobs[i].Queue {
			if n := at[c.Node]; n != nil && (q > 0 || !view.Jobs[i].Led) {
				n.Standby++
			}
		}
	}
}
