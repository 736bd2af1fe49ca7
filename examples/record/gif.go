package main

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/png"
	"maps"
	"os"
	"slices"
	"time"
)

const (
	hold = 2 * time.Second // of the last one
	most = 1_500_000       // bytes
)

// writeGIF writes the shots as an animated GIF that plays for ever, and returns
// its size. A frame holds only what has changed: all else is transparent.
func writeGIF(path string, shots []shot) (size int, err error) {
	frames := make([]*image.RGBA, len(shots))
	for i, s := range shots {
		if frames[i], err = decode(s.png); err != nil {
			return 0, err
		}
	}
	p := newPalette(frames)
	var film gif.GIF
	var last *image.Paletted
	for i, frame := range frames {
		delay := hold
		if i+1 < len(shots) {
			delay = shots[i+1].at - shots[i].at
		}
		whole := p.paint(frame)
		changed := whole
		if last != nil {
			changed = difference(last, whole)
		}
		last = whole
		film.Image = append(film.Image, changed)
		film.Delay = append(film.Delay, int(delay/(10*time.Millisecond)))
		film.Disposal = append(film.Disposal, gif.DisposalNone)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, &film); err != nil {
		return 0, err
	}
	if b.Len() > most {
		return 0, fmt.Errorf("%s has %d bytes, more than the %d that a reader should have to load", path, b.Len(), most)
	}
	return b.Len(), os.WriteFile(path, b.Bytes(), 0o644)
}

// thin leaves out shots that come too soon after another, but never the last.
func thin(shots []shot, interval time.Duration) []shot {
	out := shots[:1:1]
	for i, s := range shots[1:] {
		if s.at-out[len(out)-1].at >= interval || i == len(shots)-2 {
			out = append(out, s)
		}
	}
	return out
}

func decode(data []byte) (*image.RGBA, error) {
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	rgba := image.NewRGBA(img.Bounds())
	draw.Draw(rgba, rgba.Bounds(), img, img.Bounds().Min, draw.Src)
	return rgba, nil
}

// palette is one for all frames, so that what does not change keeps its color. Its
// last color is transparent.
type palette struct {
	colors  color.Palette
	nearest map[color.RGBA]uint8
}

const transparent = 127

// newPalette takes the colors that are seen most: a page has few, and the shades
// at the edges of its letters.
func newPalette(frames []*image.RGBA) *palette {
	seen := map[color.RGBA]int{}
	for _, f := range frames {
		for i := 0; i < len(f.Pix); i += 4 {
			seen[color.RGBA{f.Pix[i], f.Pix[i+1], f.Pix[i+2], 255}]++
		}
	}
	byCount := slices.SortedFunc(maps.Keys(seen), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(seen[b], seen[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	p := &palette{nearest: map[color.RGBA]uint8{}}
	for _, c := range byCount[:min(len(byCount), transparent/2)] {
		p.colors = append(p.colors, c)
	}
	for distance := 300; len(p.colors) < transparent && distance >= 0; distance -= 100 {
		for _, c := range byCount { // then those that differ from all that are there, much at first
			if len(p.colors) < transparent && p.far(c, distance) {
				p.colors = append(p.colors, c)
			}
		}
	}
	for len(p.colors) < transparent {
		p.colors = append(p.colors, color.RGBA{A: 255})
	}
	p.colors = append(p.colors, color.RGBA{})
	return p
}

// far reports whether no color of the palette is closer to c than that.
func (p *palette) far(c color.RGBA, distance int) bool {
	for _, q := range p.colors {
		if apart(c, q.(color.RGBA)) <= distance {
			return false
		}
	}
	return true
}

// apart is the square of the distance of two colors.
func apart(a, b color.RGBA) int {
	r, g, u := int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B)
	return r*r + g*g + u*u
}

func (p *palette) paint(frame *image.RGBA) *image.Paletted {
	out := image.NewPaletted(frame.Bounds(), p.colors)
	for i := range out.Pix {
		c := color.RGBA{frame.Pix[4*i], frame.Pix[4*i+1], frame.Pix[4*i+2], 255}
		index, ok := p.nearest[c]
		if !ok {
			index = p.find(c)
			p.nearest[c] = index
		}
		out.Pix[i] = index
	}
	return out
}

func (p *palette) find(c color.RGBA) uint8 {
	best := 0
	for i, q := range p.colors[:transparent] {
		if apart(c, q.(color.RGBA)) < apart(c, p.colors[best].(color.RGBA)) {
			best = i
		}
	}
	return uint8(best)
}

// difference is the part of a frame in which it differs from the last.
func difference(last, frame *image.Paletted) *image.Paletted {
	var area image.Rectangle
	width := frame.Rect.Dx()
	for i, index := range frame.Pix {
		if index != last.Pix[i] {
			at := image.Pt(i%width, i/width)
			area = area.Union(image.Rectangle{Min: at, Max: at.Add(image.Pt(1, 1))})
		}
	}
	if area.Empty() {
		area = image.Rect(0, 0, 1, 1)
	}
	out := image.NewPaletted(area, frame.Palette)
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			index := frame.ColorIndexAt(x, y)
			if index == last.ColorIndexAt(x, y) {
				index = transparent
			}
			out.SetColorIndex(x, y, index)
		}
	}
	return out
}
