package main

const pageBytes = 4096

// layer is what a disk holds: pages over those of the layer below. A page is never changed in place, so layers share
// them, and a layer that others stand on costs nothing to keep. Not safe for concurrent use.
type layer struct {
	below *layer
	pages map[int64][]byte
}

var zeros = make([]byte, pageBytes)

func over(below *layer) *layer {
	return &layer{below: below, pages: map[int64][]byte{}}
}

// page returns 4,096 bytes that must not be changed.
func (l *layer) page(number int64) []byte {
	for at := l; at != nil; at = at.below {
		if page, is := at.pages[number]; is {
			return page
		}
	}
	return zeros
}

func (l *layer) read(offset int64, into []byte) {
	for len(into) > 0 {
		n := copy(into, l.page(offset / pageBytes)[offset%pageBytes:])
		into, offset = into[n:], offset+int64(n)
	}
}

// write keeps `data` where whole pages of it are written: the caller must not change it afterwards.
func (l *layer) write(offset int64, data []byte) {
	for len(data) > 0 {
		number, from := offset/pageBytes, offset%pageBytes
		n := min(pageBytes-from, int64(len(data)))
		if n == pageBytes {
			l.pages[number] = data[:n:n]
		} else {
			page := append([]byte(nil), l.page(number)...)
			copy(page[from:], data[:n])
			l.pages[number] = page
		}
		data, offset = data[n:], offset+n
	}
}

// zero makes a range read as zeros.
func (l *layer) zero(offset, length int64) {
	for length > 0 {
		n := min(pageBytes-offset%pageBytes, length)
		l.write(offset, zeros[:n])
		offset, length = offset+n, length-n
	}
}
