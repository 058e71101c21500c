"""x"""
def load_dicom_waveforms(): pass
